"""`docgen.scan_codebase` on trees made to break it: never fatal, never stuck, alike in C.

Each claim is checked on the Python layer by what it must say, and on the C layer by the same
bytes. What happens half-way is injected at the n-th look at the cancel flag, so that it
happens at the same moment in every run.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from tandem_orchestrator.agents.docgen.scan import ScanCancelled, scan_codebase
from tandem_orchestrator.agents.docgen.scan_ignore import IGNORE_BYTES_MAX

NOBODY = 65534
GIB = 1 << 30
GIB_OF_ZEROS_SHA256 = "49bc20df15e412a64472421e13fe86ff1c5165e18b2afccf160d4dc19fe68a14"
"""`head -c 1073741824 /dev/zero | sha256sum`."""


class Native(Protocol):
    """Runs the C action in a process of its own."""

    def __call__(self, payload: dict[str, Any], *options: str, user: int | None = None) -> bytes:
        """Return the body: output or failure."""


@pytest.fixture(scope="session")
def native_program() -> Path:
    """Find the tool that runs the C action without a bridge."""
    folder = os.environ.get("TANDEM_NATIVE_TOOLS", "")
    program = Path(folder, "docgen_scan_host")
    if not folder or not program.is_file():
        reason = (
            f"TANDEM_NATIVE_TOOLS={folder!r} holds no docgen_scan_host; "
            "`tools/test-native plain` builds it, `make test` does both"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return program


@pytest.fixture
def native(native_program: Path, open_folder: Path) -> Native:
    """Return the runner; its program is a copy that every user may execute."""
    program = open_folder / "docgen_scan_host"
    shutil.copy(native_program, program)
    program.chmod(0o755)

    def run(payload: dict[str, Any], *options: str, user: int | None = None) -> bytes:
        who: dict[str, Any] = {} if user is None else {"user": user, "group": user}
        done = subprocess.run(
            [program, *options],
            input=msgspec.msgpack.encode(payload),
            capture_output=True,
            timeout=50,
            check=False,
            extra_groups=[] if user is not None else None,
            cwd="/",
            **who,
        )
        assert done.stderr == b""
        assert done.returncode in (0, 1)
        return bytes(done.stdout)

    return run


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that other users may enter, unlike ``tmp_path``."""
    folder = Path(tempfile.mkdtemp(prefix="tandem-hostile-"))
    folder.chmod(0o755)
    yield folder
    # Not shutil.rmtree: it recurses, and the tree may be deep and shut.
    subprocess.run(["chmod", "-R", "u+rwX", folder], check=True, timeout=50)
    subprocess.run(["rm", "-rf", folder], check=True, timeout=50)


@pytest.fixture
def tree(open_folder: Path) -> Path:
    """Give an empty folder to scan."""
    root = open_folder / "tree"
    root.mkdir()
    return root


class At:
    """A context that acts at the n-th look at its cancel flag."""

    def __init__(self, poll: int, act: Callable[[], object]) -> None:
        self.left, self.act = poll, act

    def cancelled(self) -> bool:
        """Act, once; never ask to stop unless the act says so."""
        self.left -= 1
        return self.left == 0 and self.act() is True

    def progress(self, done: int, total: int) -> None:
        """Hear nothing."""


def raw_path(root: Path, name: bytes) -> Path:
    return Path(os.fsdecode(os.fsencode(root) + b"/" + name))


def errors_of(output: dict[str, Any]) -> dict[str, str]:
    return {entry["path"]: entry["error"] for entry in output["errors"]}


def make_hostile(root: Path) -> None:
    """Fill ``root`` with everything a file system can hold against a scan."""
    (root / "empty").touch()
    (root / "no newline").write_bytes(b"a\nb")
    (root / "new\nline\t\x01\x7f").write_text("x\n")
    (root / "a").mkdir()
    (root / "a.b").touch()
    (root / "a" / "b").touch()
    (root / "ab").touch()
    for name in (b"\xff", b"caf\xe9.py", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"ok\xc3\xa9", b"\xc3/"):
        raw_path(root, name.removesuffix(b"/")).mkdir() if name.endswith(b"/") else raw_path(
            root, name
        ).write_bytes(name)
    raw_path(root, b"\xc3/\xc3").write_bytes(b"x")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
    (root / "self").symlink_to("self")
    (root / "a" / "up").symlink_to("..")
    (root / "dangling").symlink_to("nowhere")
    (root / "to file").symlink_to("ab")
    (root / "device").symlink_to("/dev/zero")
    with suppress(PermissionError):  # a right that not even every root has
        os.mknod(root / "null", 0o666 | 0o020000, os.makedev(1, 3))
    (root / ".git").mkdir()
    (root / ".git" / "config").touch()
    (root / "a" / ".git").write_text("gitdir: elsewhere")
    make_hostile_ignores(root)


def make_hostile_ignores(root: Path) -> None:
    folders = {
        "crlf": b"\xef\xbb\xbf*.o\r\n!k.o\r\n",
        "nul": b"x\0y\nk.o\0\n",
        "stars": b"*a" * 500 + b"\n" + b"**/" * 300 + b"k.o\n",
        "open": b"[k.o\n[[:nope:]].o\nk.o\\\n",
        "bytes": b"\xff\xfe*\nk.\xff\n",
        "long": b"k" * 5000 + b"\n?.o",
    }
    for name, data in folders.items():
        (root / name).mkdir()
        (root / name / ".gitignore").write_bytes(data)
        for file in ("k.o", "x", "j.o", "a" * 200):
            (root / name / file).write_text(name)
        raw_path(root / name, b"\xff\xfe1").touch()
    for name in ("dir", "link", "pipe", "huge"):
        (root / f"ignore {name}").mkdir()
        (root / f"ignore {name}" / "k.o").touch()
    (root / "ignore dir" / ".gitignore").mkdir()
    (root / "ignore link" / ".gitignore").symlink_to("../crlf/.gitignore")
    os.mkfifo(root / "ignore pipe" / ".gitignore")
    (root / "ignore huge" / ".gitignore").write_bytes(b"k.o\n" * (IGNORE_BYTES_MAX // 4) + b"k")


def test_everything_odd_is_reported_and_nothing_is_fatal(native: Native, tree: Path) -> None:
    make_hostile(tree)
    payload = {"path": str(tree)}

    output: dict[str, Any] = scan_codebase(payload)

    errors = errors_of(output)
    assert errors.pop("null", "char_device") == "char_device"
    assert errors == {
        "fifo": "fifo",
        "socket": "socket",
        "ignore huge/.gitignore": "ignore_too_large",
        "ignore pipe/.gitignore": "fifo",
    }
    assert output["totals"]["symlinks"] == 6
    shown = {file["path"]: file for file in output["files"]}
    assert shown["no newline"]["lines"] == 2
    assert shown["empty"]["lines"] == 0
    assert shown["new\nline\t\x01\x7f"]["bytes"] == 2
    assert shown["caf\ufffd.py"]["path_raw"] == b"caf\xe9.py"
    assert shown["\ufffd/\ufffd"]["path_raw"] == b"\xc3/\xc3"
    assert "path_raw" not in shown["ok\u00e9"]
    assert not [path for path in shown if ".git/" in path or path.endswith(".git")]
    kept = sorted(path for path in shown if path.endswith("/k.o"))
    assert kept == [
        f"{name}/k.o" for name in ("bytes", "crlf", "ignore dir", "ignore huge", "ignore link")
    ] + ["ignore pipe/k.o", "open/k.o"]
    assert native(payload) == msgspec.msgpack.encode(output)


@pytest.mark.parametrize("hash_", [True, False])
def test_unreadable_files_and_folders_are_reported(native: Native, tree: Path, hash_: bool) -> None:
    for name in ("shut", "no list", "open"):
        (tree / name).mkdir()
        (tree / name / "a").write_text("a")
    (tree / "shut").chmod(0o000)
    (tree / "no list").chmod(0o311)
    (tree / "secret").write_text("s")
    (tree / "secret").chmod(0o000)
    (tree / "open" / ".gitignore").write_text("a")
    (tree / "open" / ".gitignore").chmod(0o000)
    payload = {"path": str(tree), "hash": hash_, "lines": hash_}

    body, output = as_nobody(native, payload)

    assert errors_of(output).items() >= {
        ("shut", "no_permission"),
        ("no list", "no_permission"),
        ("open/.gitignore", "no_permission" if hash_ else "ignore_unreadable"),
    }
    assert ("secret" in errors_of(output)) is hash_
    assert {"open/a"} <= {file["path"] for file in output["files"]}
    assert body == msgspec.msgpack.encode(output)


def as_nobody(native: Native, payload: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """Scan in both layers under a user who has no rights; root may read everything."""
    if os.geteuid() != 0:
        return native(payload), scan_codebase(payload)
    body = native(payload, user=NOBODY)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        return body, scan_codebase(payload)
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_a_root_without_permission_fails_alike(native: Native, tree: Path) -> None:
    tree.chmod(0o000)
    payload = {"path": str(tree)}
    try:
        with pytest.raises(PermissionError, match="no permission to read it") as caught:
            as_nobody(native, payload)
        body = native(payload, user=NOBODY if os.geteuid() == 0 else None)
    finally:
        tree.chmod(0o755)

    assert msgspec.msgpack.decode(body) == {
        "type": "PermissionError",
        "message": str(caught.value),
    }


def test_a_file_of_one_gib_is_read_in_constant_memory(native: Native, tree: Path) -> None:
    with (tree / "giant").open("wb") as file:
        file.truncate(GIB)  # sparse: no disk, no time to write it
    payload = {"path": str(tree)}
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    output = scan_codebase(payload)

    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    assert output["files"] == [
        {"bytes": GIB, "lines": 1, "path": "giant", "sha256": GIB_OF_ZEROS_SHA256}
    ]
    assert grown_kib < 16 * 1024
    assert native(payload) == msgspec.msgpack.encode(output)


def last_listed(root: Path) -> Path:
    """Name what the file system lists last: it is visited last, in both layers."""
    return root / [entry.name for entry in os.scandir(root)][-1]


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(("act", "error"), [("remove", "vanished"), ("fifo", "fifo")])
def test_a_name_that_changes_its_meaning_after_the_listing(
    native: Native, tree: Path, act: str, error: str
) -> None:
    payload = {"path": str(tree)}

    def make() -> Path:
        shutil.rmtree(tree)
        tree.mkdir()
        for index in range(100):
            (tree / f"f{index}").write_text("x")
        return last_listed(tree)

    victim = make()
    change = victim.unlink if act == "remove" else lambda: replace_by_fifo(victim)
    output: dict[str, Any] = scan_codebase(payload, At(1, change))

    assert errors_of(output) == {victim.name: error}
    assert len(output["files"]) == 99
    assert make() == victim
    assert native(payload, "--at", "1", act, str(victim)) == msgspec.msgpack.encode(output)


@pytest.mark.parametrize(("act", "error"), [("remove", "vanished"), ("append", "changed")])
def test_a_file_that_changes_while_it_is_read(
    native: Native, tree: Path, act: str, error: str
) -> None:
    victim = tree / "big"
    payload = {"path": str(tree)}

    def make() -> None:
        with victim.open("wb") as file:
            file.truncate(8 << 20)

    def append() -> None:
        with victim.open("ab") as file:
            file.write(b"x")

    make()
    output: dict[str, Any] = scan_codebase(
        payload, At(2, victim.unlink if act == "remove" else append)
    )

    assert (output["files"], errors_of(output)) == ([], {"big": error})
    make()
    assert native(payload, "--at", "2", act, str(victim)) == msgspec.msgpack.encode(output)


def test_a_folder_that_vanishes_before_it_is_entered(native: Native, tree: Path) -> None:
    for index in range(100):
        (tree / f"f{index}").touch()
    victim = tree / "folder"
    victim.mkdir()
    payload = {"path": str(tree)}

    output: dict[str, Any] = scan_codebase(payload, At(1, victim.rmdir))

    assert errors_of(output) == {"folder": "vanished"}
    victim.mkdir()
    assert native(payload, "--at", "1", "remove", str(victim)) == msgspec.msgpack.encode(output)


def test_a_deep_folder_moved_away_costs_its_surroundings_not_the_scan(
    native: Native, tree: Path
) -> None:
    # Directories are entered in the reverse order of their listing. The chain must be entered
    # first, so that something is still to do in every folder on the way back.
    for name in ("p", "q"):
        (tree / name).mkdir()
    down = last_listed(tree).name
    side = "p" if down == "q" else "q"
    here = tree
    for _ in range(150):
        for name in ("p", "q"):
            (here / name).mkdir(exist_ok=True)
        here /= down
    payload = {"path": str(tree)}
    victim = tree / down / down
    moved = tree / f"{down}.moved"

    # Three entries a level: at the sixth look the walk is more than 64 levels below the victim.
    output: dict[str, Any] = scan_codebase(payload, At(6, lambda: victim.rename(moved)))

    assert errors_of(output) == {side: "changed", f"{down}/{side}": "changed"}
    moved.rename(victim)
    assert native(payload, "--at", "6", "move", str(victim)) == msgspec.msgpack.encode(output)


def test_a_cancelled_scan_leaves_nothing_open(tree: Path) -> None:
    for index in range(200):
        (tree / f"f{index}").touch()
    before = len(list(Path("/proc/self/fd").iterdir()))

    with pytest.raises(ScanCancelled):
        scan_codebase({"path": str(tree)}, At(2, lambda: True))

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_thousands_of_levels_are_walked_alike(native: Native, tree: Path) -> None:
    levels = 4_000
    make_chain(tree, levels)
    payload = {"path": str(tree)}

    output: dict[str, Any] = scan_codebase(payload)
    body = native(payload)
    remove_chain(tree, levels)

    assert output["totals"]["directories"] == levels + 11
    assert [len(file["path"]) for file in output["files"]] == [
        2 * level + 3 for level in range(0, levels, 400)
    ]
    assert output["errors"] == []
    assert body == msgspec.msgpack.encode(output)


def step(fd: int, name: str) -> int:
    """Open a neighbour of a directory and close the directory."""
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
    finally:
        os.close(fd)


def make_chain(root: Path, levels: int) -> None:
    """Nest ``levels`` folders; every 400th has a file and a folder beside the next one."""
    fd = os.open(root, os.O_RDONLY)
    for level in range(levels):
        os.mkdir("d", dir_fd=fd)
        if level % 400 == 0:
            os.mkdir("e", dir_fd=fd)
            os.close(os.open("a.c", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        fd = step(fd, "d")
    os.close(fd)


def remove_chain(root: Path, levels: int) -> None:
    """Remove it from below: `rm -rf` would take a quarter of a minute."""
    fd = os.open(root, os.O_RDONLY)
    for _ in range(levels):
        fd = step(fd, "d")
    for level in reversed(range(levels)):
        fd = step(fd, "..")
        os.rmdir("d", dir_fd=fd)
        if level % 400 == 0:
            os.rmdir("e", dir_fd=fd)
            os.unlink("a.c", dir_fd=fd)
    os.close(fd)
