"""Read which functions a shared object exports, as the dynamic loader sees them; nothing is loaded.

Sources: System V ABI, "Object Files" and "Dynamic Linking" (ELF-64); the GNU hash table as
described by U. Drepper, "How To Write Shared Libraries", 2011, and A. Roenky, "ELF: better symbol
lookup via DT_GNU_HASH", 2010.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Iterator
from mmap import mmap

MACHINES = {"x86_64": 62, "aarch64": 183, "riscv64": 243, "loongarch64": 258}
"""``e_machine`` by the system's own name of the processor."""
SYMBOLS_MAX = 1_000_000
SEGMENTS_MAX = 512
DYNAMIC_MAX = 4096

_DYNAMIC, _LOAD = 2, 1
_HASH, _STRTAB, _SYMTAB, _STRSZ = 4, 5, 6, 10
_GNU_HASH, _FLAGS_1 = 0x6FFFFEF5, 0x6FFFFFFB
_PIE = 0x08000000
_FUNCTION_TYPES = {0, 2, 10}
"""STT_NOTYPE (hand-written assembly), STT_FUNC, STT_GNU_IFUNC."""
_EXPORTED_BINDS = {1, 2, 10}
"""STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE."""


class BadElf(ValueError):
    """A file that the loader would not take, and why."""


class ExportedNames:
    """Names that a shared object exports.

    Args:
        data: The whole file.

    Raises: BadElf.
    """

    def __init__(self, data: mmap | bytes) -> None:
        self._data = data
        self.functions: set[str] = set()
        self.others: set[str] = set()
        """Data: variables, thread-local ones and the like."""
        try:
            self._read()
        except (struct.error, UnicodeDecodeError, IndexError, OverflowError) as error:
            raise BadElf(f"its tables point beyond its end or make no sense ({error})") from error

    def _read(self) -> None:
        data = self._data
        if data[:4] != b"\x7fELF":
            raise BadElf("it is no ELF file")
        if data[4] != 2 or data[5] != 1:
            raise BadElf("it is not 64-bit little-endian")
        kind, machine = struct.unpack_from("<HH", data, 16)
        here = platform.machine()
        if machine != MACHINES.get(here, machine):
            raise BadElf(f"it is for another processor (e_machine {machine}), this is {here}")
        if kind != 3:
            raise BadElf("it is no shared object (build it with -shared -fPIC)")
        self._segments = self._program_headers()
        dynamic = dict(self._dynamic_section())
        if dynamic.get(_FLAGS_1, 0) & _PIE:
            raise BadElf("it is a program, no shared object (build it with -shared -fPIC)")
        if _SYMTAB not in dynamic or _STRTAB not in dynamic:
            raise BadElf("it exports nothing: it has no dynamic symbol table")
        symbols, strings = self._offset(dynamic[_SYMTAB]), self._offset(dynamic[_STRTAB])
        for number in range(self._symbols_total(dynamic)):
            self._take_symbol(symbols + 24 * number, strings, dynamic.get(_STRSZ, 0))

    def _program_headers(self) -> list[tuple[int, int, int, int]]:
        """Give (type, file offset, address, bytes in the file) of each segment."""
        (table,) = struct.unpack_from("<Q", self._data, 32)
        entry_bytes, total = struct.unpack_from("<HH", self._data, 54)
        if entry_bytes != 56 or total > SEGMENTS_MAX:
            raise BadElf("its program headers make no sense")
        rows = (struct.unpack_from("<IIQQQQQQ", self._data, table + 56 * i) for i in range(total))
        return [(row[0], row[2], row[3], row[5]) for row in rows]

    def _dynamic_section(self) -> Iterator[tuple[int, int]]:
        start, size = next(
            ((offset, size) for kind, offset, _, size in self._segments if kind == _DYNAMIC), (0, 0)
        )
        for number in range(min(size // 16, DYNAMIC_MAX)):
            tag, value = struct.unpack_from("<QQ", self._data, start + 16 * number)
            if tag == 0:
                return
            yield tag, value

    def _offset(self, address: int) -> int:
        """Find where in the file an address of the loaded object lies."""
        for kind, offset, start, size in self._segments:
            if kind == _LOAD and start <= address < start + size:
                return offset + address - start
        raise BadElf("its dynamic section points outside of it")

    def _symbols_total(self, dynamic: dict[int, int]) -> int:
        if _HASH in dynamic:
            (total,) = struct.unpack_from("<I", self._data, self._offset(dynamic[_HASH]) + 4)
        elif _GNU_HASH in dynamic:
            total = self._gnu_total(self._offset(dynamic[_GNU_HASH]))
        else:
            raise BadElf("it exports nothing: it has no hash table of symbols")
        if total > min(SYMBOLS_MAX, len(self._data) // 24):
            raise BadElf(f"it has {total} symbols, more than it or {SYMBOLS_MAX} can hold")
        return int(total)

    def _gnu_total(self, table: int) -> int:
        """Count symbols: one beyond the end of the chain that begins last."""
        buckets, first, bloom_words = struct.unpack_from("<III", self._data, table)
        if buckets > SYMBOLS_MAX or bloom_words > SYMBOLS_MAX:
            raise BadElf("its hash table makes no sense")
        starts = table + 16 + 8 * bloom_words
        last = max(struct.unpack_from(f"<{buckets}I", self._data, starts), default=0)
        if last < first:
            return int(first)
        chains = starts + 4 * buckets
        while last < SYMBOLS_MAX:
            (word,) = struct.unpack_from("<I", self._data, chains + 4 * (last - first))
            last += 1
            if word & 1:
                break
        return int(last)

    def _take_symbol(self, at: int, strings: int, strings_bytes: int) -> None:
        name_at, info, other, section = struct.unpack_from("<IBBH", self._data, at)
        hidden = (other & 3) in (1, 2)
        if section == 0 or hidden or info >> 4 not in _EXPORTED_BINDS or name_at >= strings_bytes:
            return
        end = self._data.find(b"\0", strings + name_at, strings + strings_bytes)
        if end < 0:
            raise BadElf("its names make no sense")
        name = self._data[strings + name_at : end].decode()
        (self.functions if info & 15 in _FUNCTION_TYPES else self.others).add(name)
