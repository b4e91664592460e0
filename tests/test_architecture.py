"""The house holds: imports point down the floors, rooms say what they are, modules stay small.

The map below is the one in ARCHITECTURE.md. A room is a module or package directly inside
``tandem_orchestrator``; it may import from rooms on lower floors only, never from its own floor,
whether the import runs always, lazily inside a function, or for the type checker alone.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = "tandem_orchestrator"

FLOORS: tuple[frozenset[str], ...] = tuple(
    frozenset(floor.split())
    for floor in (
        "errors",  # below the other foundations: each of them must be able to refuse
        "clock ids settings side_file",
        "model",
        "twins",
        "plan layers journal",
        "engine observe",
        "plugins workflows",
        "orchestrator",
        "(public)",  # the package's own __init__: what users, agents and doors see
        "cli api tui sync",
        "__main__",
    )
)
"""Rooms by floor, lowest first."""

PUBLIC, AGENTS, TESTING, NATIVE = "(public)", "agents", "testing", "_native"
LINES_MAX = 500
SENTENCES_MIN = 3


@dataclass(frozen=True, slots=True)
class Arrow:
    """One import of one room by another."""

    where: str
    """Path and line, relative to the source folder."""
    room: str
    """The room that imports."""
    target: str
    """The room that is imported."""
    module: str
    """The imported module or name, in full."""


# --- reading the tree ----------------------------------------------------------------------------


def modules(src: Path) -> Iterator[tuple[Path, tuple[str, ...], ast.Module]]:
    """Yield path, dotted name in parts and syntax tree of every module under ``src``."""
    for path in sorted(src.rglob("*.py")):
        parts = path.relative_to(src).with_suffix("").parts
        if not any(part.startswith(".") for part in parts):
            name = parts[:-1] if parts[-1] == "__init__" else parts
            yield path, name, ast.parse(path.read_text(encoding="utf-8"), str(path))


def room_of(name: tuple[str, ...]) -> str:
    """Return the room that a dotted name inside the package belongs to."""
    return name[1] if len(name) > 1 else PUBLIC


def imported_names(
    path: Path, name: tuple[str, ...], tree: ast.Module
) -> Iterator[tuple[int, str]]:
    """Yield line and full dotted name of everything that a module imports, anywhere in it."""
    package = name if path.name == "__init__.py" else name[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            prefix = ".".join((*base, *([node.module] if node.module else [])))
            yield from ((node.lineno, f"{prefix}.{alias.name}") for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in {"importlib.import_module", "import_module", "__import__"}
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, str(node.args[0].value)


def arrows(src: Path) -> list[Arrow]:
    """Return every import that crosses from one room to another."""
    parsed = list(modules(src))
    rooms = {name[:2] for _, name, _ in parsed if len(name) > 1} | {(PACKAGE, NATIVE)}
    found = []
    for path, name, tree in parsed:
        room = room_of(name) if name[0] == PACKAGE else AGENTS  # top-level modules are as users
        for line, module in imported_names(path, name, tree):
            target_name = tuple(module.split("."))
            if target_name[0] != PACKAGE:
                continue
            # `from tandem_orchestrator import x`: x is a room if there is one, else a public name.
            is_public = len(target_name) == 2 and target_name not in rooms
            target = PUBLIC if is_public else room_of(target_name)
            # Inside the public door a lower room is no neighbour but the thing it shows.
            if target != room and room != PUBLIC:
                where = f"{path.relative_to(src)}:{line}"
                found.append(Arrow(where, room, target, module))
    return found


# --- the rules -----------------------------------------------------------------------------------


def fault_of(arrow: Arrow) -> str | None:
    """Say what is wrong with an arrow, or return None."""
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    if arrow.target == TESTING:
        return "nothing may see testing"
    if arrow.room == TESTING:
        return None
    if arrow.target == NATIVE:
        native = f"{PACKAGE}/layers/native/"
        return None if arrow.where.startswith(native) else "only layers/native may see _native"
    if arrow.room == NATIVE:
        return "_native binds C and sees no room"
    if arrow.room == AGENTS:
        return None if arrow.target == PUBLIC else f"agents see only `from {PACKAGE} import ...`"
    if arrow.target == AGENTS:
        return "agents are found by their entry points, never imported"
    for room in (arrow.room, arrow.target):
        if room not in floor:
            return f"room '{room}' is on no floor: place it in FLOORS and in ARCHITECTURE.md"
    if floor[arrow.target] == floor[arrow.room]:
        return "sideways: same floor"
    if floor[arrow.target] > floor[arrow.room]:
        return "up"
    if any(part.startswith("_") for part in arrow.module.split(".")[2:]):
        return "a name with an underscore belongs to its own room"
    return None


def drawn(wrong: list[tuple[Arrow, str]]) -> str:
    """Draw the floors, top first, and below them each arrow that breaks them."""
    lines = ["", "The house (imports may only point down):", ""]
    for number, rooms in reversed(list(enumerate(FLOORS))):
        lines.append(f"  {number}  {'  '.join(sorted(rooms))}")
    lines += ["", "Arrows that break it:", ""]
    for arrow, reason in wrong:
        lines.append(f"  {arrow.where}: {arrow.room} -> {arrow.target} ({arrow.module}): {reason}")
    return "\n".join(lines)


def wrong_arrows(src: Path) -> list[tuple[Arrow, str]]:
    """Return the imports that break the map, each with the reason."""
    return [(arrow, fault) for arrow in arrows(src) if (fault := fault_of(arrow))]


def sentences(text: str) -> int:
    """Count sentences: a full stop, question or exclamation mark before a space or the end."""
    return len(re.findall(r"[.!?][)`'\"]*(?:\s|$)", text))


def rooms_without_a_sign(src: Path) -> list[str]:
    """Return the packages whose docstring has fewer than three sentences."""
    return [
        f"{path.relative_to(src)}: {sentences(ast.get_docstring(tree) or '')} sentences; say what "
        "this room knows, what it never knows, what it hands on"
        for path, _, tree in modules(src)
        if path.name == "__init__.py" and sentences(ast.get_docstring(tree) or "") < SENTENCES_MIN
    ]


def is_plain(value: ast.expr) -> bool:
    """Say whether an expression holds literals and operators alone, as ``64 * 1024`` does."""
    return all(
        isinstance(node, ast.Constant | ast.BinOp | ast.UnaryOp | ast.operator | ast.unaryop)
        for node in ast.walk(value)
    )


def undocumented(src: Path) -> list[str]:
    """Return public module-level names without a docstring, and modules without one.

    A name that is assigned is documented by a string below it or a comment above or beside it. A
    plain number or text in capitals may speak for itself: its name carries the unit.
    """
    found = []
    for path, _, tree in modules(src):
        if ast.get_docstring(tree) is None:
            found.append(f"{path.relative_to(src)}:1 the module")
        lines = path.read_text(encoding="utf-8").splitlines()
        for node, following in zip(tree.body, [*tree.body[1:], None], strict=False):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names = [] if ast.get_docstring(node) else [node.name]
                overload = any("overload" in ast.unparse(d) for d in node.decorator_list)
                names = [] if overload else names
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                below = isinstance(following, ast.Expr) and isinstance(
                    following.value, ast.Constant
                )
                near = lines[max(node.lineno - 2, 0) : node.end_lineno]
                commented = near[0].lstrip().startswith("#") or any("  #" in at for at in near)
                names = [] if below or commented else [ast.unparse(target) for target in targets]
                if node.value is not None and is_plain(node.value):
                    names = [name for name in names if not name.isupper()]
            else:
                continue
            where = f"{path.relative_to(src)}:{node.lineno}"
            found += [f"{where} {n}" for n in names if n.isidentifier() and not n.startswith("_")]
    return found


def oversized(src: Path) -> list[str]:
    """Return the modules of more than 500 lines, longest first."""
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path, _, _ in modules(src)}
    return [
        f"{path.relative_to(src)}: {length} lines, at most {LINES_MAX}: look for the second noun"
        for path, length in sorted(lengths.items(), key=lambda item: -item[1])
        if length > LINES_MAX
    ]


# --- the house as it stands ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def src() -> Path:
    return REPOSITORY / "src"


def none(faults: list[str]) -> None:
    """Fail with one fault a line."""
    if faults:
        pytest.fail("\n  ".join(["", *faults]), pytrace=False)


def test_imports_point_down_the_floors(src: Path) -> None:
    if wrong := wrong_arrows(src):
        pytest.fail(drawn(wrong), pytrace=False)


def test_each_room_says_what_it_knows_what_it_never_knows_and_what_it_hands_on(src: Path) -> None:
    none(rooms_without_a_sign(src))


def test_each_public_name_has_a_docstring(src: Path) -> None:
    none(undocumented(src))


def test_no_module_outgrows_its_noun(src: Path) -> None:
    none(oversized(src))


def test_python_h_appears_in_the_extension_only() -> None:
    native = REPOSITORY / "native"
    sources = [*native.rglob("*.c"), *native.rglob("*.h")]
    assert [
        str(path.relative_to(REPOSITORY))
        for path in sources
        if re.search(r'#\s*include\s*[<"]Python\.h', path.read_text("utf-8"))
        and path.relative_to(native).parts[0] != "ext"
    ] == []


def test_the_lock_is_made_with_the_build_requirements_of_pyproject() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    lines = (REPOSITORY / "requirements" / "build.in").read_text("utf-8").splitlines()
    assert sorted(line for line in lines if line and not line.startswith("#")) == sorted(
        project["build-system"]["requires"]
    )


# --- the rules themselves, on planted faults -----------------------------------------------------

SIGN = '"""Knows one thing. Never knows another. Hands on a third."""\n'


def plant(root: Path, files: dict[str, str]) -> Path:
    """Write a small package with the given modules (paths inside the package) and return src."""
    src = root / "src"
    for room in (
        "errors",
        "clock",
        "ids",
        "model",
        "plan",
        "journal",
        "engine",
        "cli",
        AGENTS,
        TESTING,
    ):
        files.setdefault(f"{room}/__init__.py", SIGN)
    files.setdefault("__init__.py", SIGN)
    for name, text in files.items():
        path = src / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return src


@pytest.mark.parametrize(
    ("module", "line", "reason"),
    [
        ("model/a.py", "from tandem_orchestrator.engine import run", "up"),
        ("model/a.py", "import tandem_orchestrator.engine.loop", "up"),
        ("model/a.py", "from tandem_orchestrator import engine", "up"),
        ("model/a.py", "from ..engine import run", "up"),
        ("model/deep/a.py", "from ...engine import run", "up"),
        ("model/a.py", "from tandem_orchestrator import CommandSet", "up"),
        ("model/a.py", "import tandem_orchestrator", "up"),
        ("model/a.py", "if TYPE_CHECKING:\n    from tandem_orchestrator.cli import app", "up"),
        ("model/a.py", "def f():\n    from tandem_orchestrator.cli import app", "up"),
        ("model/a.py", "import_module('tandem_orchestrator.cli')", "up"),
        ("plan/a.py", "from tandem_orchestrator.journal import event", "sideways"),
        ("ids.py", "from tandem_orchestrator.clock import Clock", "sideways"),
        ("errors/a.py", "from tandem_orchestrator.ids import Ids", "up"),
        ("plan/a.py", "from tandem_orchestrator._native import _ext", "only layers/native"),
        ("layers/python/a.py", "import tandem_orchestrator._native._ext", "only layers/native"),
        ("agents/a.py", "from tandem_orchestrator.model import CommandSet", "agents see only"),
        ("engine/a.py", "from tandem_orchestrator.agents import docgen", "entry points"),
        ("cli/a.py", "from tandem_orchestrator.testing import clock", "nothing may see testing"),
        ("agents/a.py", "from tandem_orchestrator.testing import clock", "nothing may see testing"),
        ("cellar/a.py", "from tandem_orchestrator.errors import TandemError", "on no floor"),
        ("engine/a.py", "from tandem_orchestrator.model import _secret", "underscore"),
        ("../auto_integrate.py", "from tandem_orchestrator.engine import run", "agents see only"),
    ],
)
def test_a_planted_arrow_is_found(tmp_path: Path, module: str, line: str, reason: str) -> None:
    wrong = wrong_arrows(plant(tmp_path, {module: f'"""Planted."""\n{line}\n'}))

    assert len(wrong) == 1, wrong
    assert reason in wrong[0][1]
    assert module.removeprefix("../") in drawn(wrong)
    assert "1  clock  ids  settings" in drawn(wrong)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("engine/a.py", "from tandem_orchestrator.model import commands"),
        ("engine/a.py", "from tandem_orchestrator.engine import loop"),
        ("engine/a.py", "from . import loop"),
        ("engine/a.py", "import tandem_orchestrator_of_another_name"),
        ("cli/a.py", "from tandem_orchestrator import CommandSet"),
        ("agents/a.py", "from tandem_orchestrator import Agent"),
        ("agents/a.py", "from .docgen import scan"),
        ("testing/a.py", "from tandem_orchestrator.engine import run"),
        ("layers/native/a.py", "from tandem_orchestrator._native import _ext"),
        ("../auto_integrate.py", "from tandem_orchestrator import TandemOrchestrator"),
        ("__init__.py", "from tandem_orchestrator.engine import run"),
    ],
)
def test_an_arrow_that_points_down_is_let_through(tmp_path: Path, module: str, line: str) -> None:
    src = plant(tmp_path, {module: f'"""Planted."""\n{line}\n'})

    assert wrong_arrows(src) == []


def test_a_planted_room_without_three_sentences_is_found(tmp_path: Path) -> None:
    src = plant(tmp_path, {"plan/__init__.py": '"""Knows tandem.yaml. Hands on plans."""\n'})

    assert [line.split(":")[0] for line in rooms_without_a_sign(src)] == [
        f"{PACKAGE}/plan/__init__.py"
    ]


def test_a_planted_name_without_a_docstring_is_found(tmp_path: Path) -> None:
    text = (
        '"""Planted."""\n\nBARE = [1]\nTOLD = [2]\n"""Why."""\n# Why.\nABOVE = [3]\n'
        "BESIDE = [4]  # why\n_PRIVATE = [5]\nBODY_BYTES_MAX = 64 * 1024\n\ndef bare(): ...\n\nclass Bare: ...\n\ndef _own(): ...\n"
    )
    src = plant(tmp_path, {"plan/a.py": text, "plan/b.py": "_X = 1\n"})

    assert undocumented(src) == [
        f"{PACKAGE}/plan/a.py:3 BARE",
        f"{PACKAGE}/plan/a.py:12 bare",
        f"{PACKAGE}/plan/a.py:14 Bare",
        f"{PACKAGE}/plan/b.py:1 the module",
    ]


def test_a_planted_module_of_501_lines_is_found_and_one_of_500_is_not(tmp_path: Path) -> None:
    src = plant(tmp_path, {"plan/a.py": "#\n" * 500, "plan/b.py": "#\n" * 501})

    assert [line.split(":")[0] for line in oversized(src)] == [f"{PACKAGE}/plan/b.py"]
