"""Libraries: what is checked when a twin is named, and that what was checked is what is kept."""

import fcntl
import gc
import hashlib
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tandem_orchestrator.errors import TwinError
from tandem_orchestrator.layers.libraries import make_twin, open_library
from tandem_orchestrator.layers.libraries.elf import BadElf, ExportedNames

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler"
)

SOURCE = """
double area(double w, double h) { return w * h; }
double angle(double w) { return w; }
int counter = 3;
__thread int mine;
static int secret(void) { return counter; }
__attribute__((visibility("hidden"))) int hidden(void) { return secret() + mine; }
__attribute__((weak)) int weak(void) { return 1; }
"""

Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def made(name: str = "libgeo.so", source: str = SOURCE, *options: str) -> Path:
        (tmp_path / "geo.c").write_text(source)
        options = options or ("-shared", "-fPIC")
        subprocess.run(
            ["cc", *options, str(tmp_path / "geo.c"), "-o", str(tmp_path / name)], check=True
        )
        return tmp_path / name

    return made


def test_exported_functions_are_known_and_no_others(build: Build) -> None:
    library = open_library("libgeo.so", str(build().parent))

    assert {"area", "angle", "weak"} <= library.functions
    assert not {"secret", "hidden", "counter", "mine"} & library.functions
    assert {"counter", "mine"} <= library.others


@pytest.mark.parametrize("style", ["gnu", "sysv", "both"])
def test_exports_agree_with_nm_whatever_the_hash_table(build: Build, style: str) -> None:
    path = build("lib.so", SOURCE, "-shared", "-fPIC", f"-Wl,--hash-style={style}")
    said = subprocess.run(
        ["nm", "-D", "--defined-only", str(path)], capture_output=True, text=True, check=True
    ).stdout
    expected = {line.split()[2] for line in said.splitlines() if line.split()[1] in "TW"}

    assert expected >= {"area", "angle", "weak"}
    assert ExportedNames(path.read_bytes()).functions == expected


def test_the_copy_is_sealed_and_stays_as_it_was(build: Build) -> None:
    path = build()
    before = path.read_bytes()
    library = open_library(path, "/")

    path.write_bytes(b"something else")

    assert os.pread(library.fd, len(before) + 1, 0) == before
    assert library.sha256 == hashlib.sha256(before).hexdigest()
    seals = fcntl.fcntl(library.fd, fcntl.F_GET_SEALS)
    assert seals & fcntl.F_SEAL_WRITE
    with pytest.raises(PermissionError):
        os.pwrite(library.fd, b"x", 0)


def test_one_library_has_one_copy_and_its_descriptor_goes_with_it(build: Build) -> None:
    path = build()
    one, other = open_library(path, "/"), open_library("libgeo.so", str(path.parent))
    assert one is other
    fd = one.fd
    del one, other
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_library_that_was_built_again_is_another(build: Build) -> None:
    first = open_library(build(), "/")
    second = open_library(build("libgeo.so", "int more(void) { return 2; }"), "/")

    assert first is not second
    assert "area" in first.functions
    assert "area" not in second.functions


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"/* GNU ld script */ GROUP ( libc.so.6 )", "no ELF file"),
        (b"", "a file of at most 256 MiB"),
        (b"\x7fELF\x01\x01" + bytes(80), "not 64-bit little-endian"),
        (b"\x7fELF\x02\x01" + bytes(58), "another processor"),
        (b"\x7fELF\x02\x01", "tables point beyond its end"),
    ],
)
def test_what_is_no_library_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "bad.so").write_bytes(content)

    with pytest.raises(TwinError, match=reason):
        open_library("bad.so", str(tmp_path))


def test_a_program_is_refused(build: Build) -> None:
    program = build("program", "int main(void) { return 0; }", "-fPIE", "-pie")
    with pytest.raises(TwinError, match="is a program"):
        open_library(program, "/")
    unlinked = build("object.o", SOURCE, "-c")
    with pytest.raises(TwinError, match="no shared object"):
        open_library(unlinked, "/")


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(TwinError, match=r"libgone\.so.*No such file"):
        open_library("libgone.so", str(tmp_path))
    with pytest.raises(TwinError, match="must be a file"):
        open_library(tmp_path, "/")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TwinError, match="must be a file"):
        open_library("pipe", str(tmp_path))
    with pytest.raises(TwinError, match="null"):
        open_library("a\0b", str(tmp_path))


def test_damaged_libraries_are_refused_or_read_and_never_raise_anything_else(build: Build) -> None:
    whole = build().read_bytes()
    (headers,) = struct.unpack_from("<Q", whole, 32)
    damaged = [whole[:cut] for cut in range(0, len(whole), 97)]
    for at in range(headers, headers + 56 * 8, 3):
        damaged += [whole[:at] + byte + whole[at + 1 :] for byte in (b"\0", b"\x7f", b"\xff")]
    for at in range(0, len(whole), 61):
        damaged.append(whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :])

    refused = 0
    for data in damaged:
        try:
            ExportedNames(data)
        except BadElf:
            refused += 1

    assert refused > 100


def test_a_symbol_and_a_signature_are_checked_against_the_library(build: Build) -> None:
    library = open_library(build(), "/")

    twin = make_twin("c", library, "area", "f64(f64 w, f64 h)", "shapes.area")
    assert str(twin.signature) == "f64(f64 w, f64 h)"
    assert twin.source.startswith(f"{library.path}:area sha256:{library.sha256[:12]}")
    assert make_twin("c", library, "area", None, "shapes.area").signature is None

    for symbol, signature, reason in [
        ("aera", None, r"shapes\.area: .*libgeo\.so exports no function 'aera'; it has: area"),
        ("hidden", None, "a static or hidden function is not exported"),
        ("counter", None, "is data, expected a function"),
        ("", None, "expected the name of a function"),
        (None, None, "expected the name of a function"),
        ("area", "f64(w)", "at 4: expected an argument"),
        ("area", "double(f64 w)", "expected what it returns: .*; for C's 'double' say f64$"),
        (
            "area",
            "f64(const char *w)",
            r"expected an argument: .*; for C's 'const char \*' say str",
        ),
        ("area", "f64(f64 w, double *h)", r"at 11: .*; for C's 'double \*' say buf<f64>"),
        ("area", "f64(wide w)", r"out buf<T>\[n\]$"),
        ("area", "f64(f64 w", "expected ',' or '\\)'$"),
        ("area", 5, "signature=5, expected text"),
    ]:
        with pytest.raises(TwinError, match=reason):
            make_twin("c", library, symbol, signature, "shapes.area")
