"""Make the mutants of the C layer: every memory order one step weaker, every check taken away.

Both kinds are generated from the sources, so that no new order and no new check can be forgotten;
what needs a thought (orders of statements, rules without an ``if``) is written down in
``native/models/mutants.toml``, with which model or reason answers for what no run can catch.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "native" / "models" / "mutants.toml"

ORDERS = (
    "ring/ring.c", "ring/bell.c", "client/send.c", "bridge/session.c", "bridge/run.c",
    "bridge/agents.c", "bridge/router.c", "bridge/programs.c", "agentlib/call.c",
    "agentlib/host.c", "agentlib/serve.c",
)  # fmt: skip
"""Files below ``native/src`` whose memory orders are weakened."""
CHECKS = (
    "ring/ring.c", "ring/bell.c", "wire/frame.c", "wire/extension.c", "wire/handshake.c",
    "client/send.c", "client/drain.c", "bridge/dispatch.c", "strict/strict.c",
)  # fmt: skip
"""Files whose refusals are taken away, one operand of ``||`` at a time."""
WEAKER = {
    ("load", "seq_cst"): ("acquire", "relaxed"),
    ("store", "seq_cst"): ("release", "relaxed"),
    ("load", "acquire"): ("relaxed",),
    ("store", "release"): ("relaxed",),
}
REFUSAL = re.compile(
    r"(?:\{\s*)?(?:return (?:TD_(?:CORRUPT|TOO_LARGE|ERR_FULL|ERR_AGAIN)\b|broke\(|"
    r"tdi_fail\((?!.*MEMORY)|0;|NULL;)|status = (?:TD_CORRUPT|broke)|completion\.status =)"
)
"""What follows a condition that is a check."""
PROPAGATES = re.compile(r"^(?:\w+|[\w.>-]+) [!=]= (?:TD_OK|TD_ERR_FULL)$|NULL")
"""Conditions that only hand a verdict on, or ask for memory."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change to one file."""

    name: str
    """``file function: what``; unique, and stable while the code around it changes."""
    file: str
    """Below ``native/src``."""
    start: int
    stop: int
    text: str
    """Replaces ``[start, stop)`` of the file."""
    model: str = ""
    """``model/variant`` of variants.tsv with the same rule taken away."""
    equivalent: str = ""
    """Why nothing can catch it."""
    quick: bool = False

    def apply(self, source: str) -> str:
        """Return the mutated source."""
        return source[: self.start] + self.text + source[self.stop :]


def closing(source: str, opening: int) -> int:
    """Return the index behind the bracket that closes the one at ``opening``."""
    depth = 0
    for at in range(opening, len(source)):
        depth += {"(": 1, ")": -1}.get(source[at], 0)
        if depth == 0:
            return at + 1
    raise ValueError(f"no bracket closes the one at {opening}")


def function_at(source: str, at: int) -> str:
    """Name the function whose body holds ``at``."""
    names = re.findall(r"^[a-z_][^\n;={}#]*?\b(\w+)\([^;{}]*?\)\n\{", source[:at], re.MULTILINE)
    return names[-1] if names else "?"


def blank_comments(source: str) -> str:
    """Return the source with comments as spaces; every offset stays."""
    return re.sub(
        r"/\*.*?\*/|//[^\n]*",
        lambda found: re.sub(r"[^\n]", " ", found[0]),
        source,
        flags=re.DOTALL,
    )


def short(text: str) -> str:
    """Return a piece of code on one line."""
    return " ".join(text.split())


def orders_of(file: str, source: str) -> Iterator[Mutant]:
    """Weaken each explicit order of a load or store."""
    for found in re.finditer(r"\batomic_(load|store)_explicit(?=\()", source):
        stop = closing(source, found.end())
        call = source[found.start() : stop]
        order = re.search(r"memory_order_(\w+)\)$", call)
        if order is None:
            raise ValueError(f"{file}: {short(call)}: its order is not the last argument")
        about = short(call[len(found[0]) + 1 : order.start()]).rstrip(" ,")
        for weaker in WEAKER.get((found[1], order[1]), ()):
            at = found.start() + order.start() + len("memory_order_")
            yield Mutant(
                f"{file} {function_at(source, found.start())}: {found[1]} {about}: "
                f"{order[1]} > {weaker}",
                file, at, at + len(order[1]), weaker,
            )  # fmt: skip


def operands(source: str, start: int, stop: int) -> list[tuple[int, int]]:
    """Cut a condition at its outermost ``||``."""
    cuts, depth, begin = [], 0, start
    for at in range(start, stop):
        depth += {"(": 1, ")": -1}.get(source[at], 0)
        if depth == 0 and source.startswith("||", at):
            cuts.append((begin, at))
            begin = at + 2
    return [*cuts, (begin, stop)]


def checks_of(file: str, source: str) -> Iterator[Mutant]:
    """Take away each operand of each condition that leads to a refusal."""
    for found in re.finditer(r"\bif \((?!0\))", source):
        stop = closing(source, found.end() - 1)
        if not REFUSAL.match(source[stop : stop + 120].lstrip()):
            continue
        for begin, end in operands(source, found.end(), stop - 1):
            operand = short(source[begin:end])
            if PROPAGATES.search(operand) and not re.match(r"in->|.*inbound", operand):
                continue
            yield Mutant(
                f"{file} {function_at(source, begin)}: no {operand}", file, begin, end, " 0 "
            )


def written(table: dict, sources: dict[str, str]) -> Iterator[Mutant]:
    """Make the mutants of the table; ValueError when one no longer fits the code."""
    for row in table["mutant"]:
        source = sources[row["file"]]
        count = source.count(row["find"])
        if count != 1:
            raise ValueError(
                f"mutants.toml: {row['name']!r}: {row['file']} holds its text {count} times, not "
                f"once: the code has changed, so look whether the rule still holds, then adapt"
            )
        start = source.index(row["find"])
        yield Mutant(
            f"{row['file']} {row['name']}", row["file"], start, start + len(row["find"]),
            row["replace"],
            row.get("model", ""), row.get("equivalent", ""), row.get("quick", False),
        )  # fmt: skip


def all_mutants(native: Path = ROOT / "native", table: Path = TABLE) -> list[Mutant]:
    """Generate all, with what the table says of them.

    Raises: ValueError for a row that fits nothing, or a name that two mutants have.
    """
    about = tomllib.loads(table.read_text())
    files = {*ORDERS, *CHECKS, *(row["file"] for row in about["mutant"])}
    sources = {file: (native / "src" / file).read_text() for file in files}
    made = []
    for file in dict.fromkeys([*ORDERS, *CHECKS]):
        bare = blank_comments(sources[file])
        made += orders_of(file, bare) if file in ORDERS else ()
        made += checks_of(file, bare) if file in CHECKS else ()
    seen: dict[str, int] = {}
    for index, mutant in enumerate(made):
        count = seen[mutant.name] = seen.get(mutant.name, 0) + 1
        if count > 1:
            made[index] = replace(mutant, name=f"{mutant.name} (#{count})")
    by_name = {mutant.name: mutant for mutant in [*made, *written(about, sources)]}
    for row in about["about"]:
        for name in row["mutants"]:
            if name not in by_name:
                raise ValueError(f"mutants.toml: no mutant is called {name!r} any more")
            by_name[name] = replace(
                by_name[name], model=row.get("model", ""), equivalent=row.get("equivalent", "")
            )
    for name in about["quick"]:
        if name not in by_name:
            raise ValueError(f"mutants.toml: quick: no mutant is called {name!r}")
        by_name[name] = replace(by_name[name], quick=True)
    return list(by_name.values())
