"""What `docgen.scan_codebase` promises, on small trees, in Python."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator.agents.docgen import scan_walk
from tandem_orchestrator.agents.docgen.scan import ScanCancelled, scan_codebase
from tandem_orchestrator.agents.docgen.scan_walk import ScanLimit


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return root


def scan(root: Path, **options: object) -> dict[str, Any]:
    return scan_codebase({"path": str(root), **options})


def paths(output: dict[str, Any]) -> list[str]:
    return [file["path"] for file in output["files"]]


def test_a_file_shows_its_size_its_lines_and_its_digest(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": b"one\ntwo"})

    assert scan(tmp_path)["files"] == [
        {
            "bytes": 7,
            "lines": 2,
            "path": "a.py",
            "sha256": hashlib.sha256(b"one\ntwo").hexdigest(),
        }
    ]


@pytest.mark.parametrize(
    ("data", "lines"), [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\n", 1), (b"a\n\n", 2), (b"\na", 2)]
)
def test_a_last_line_without_a_newline_counts(tmp_path: Path, data: bytes, lines: int) -> None:
    write(tmp_path, {"a": data})

    assert scan(tmp_path)["files"][0]["lines"] == lines


def test_files_are_sorted_by_the_bytes_of_the_whole_path(tmp_path: Path) -> None:
    write(tmp_path, {"a/b": b"", "a.b": b"", "a-b": b"", "B": b"", "é": b"", "z": b""})

    assert paths(scan(tmp_path)) == ["B", "a-b", "a.b", "a/b", "z", "é"]


def test_extensions_are_endings_of_longer_names(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": b"", "b.pyc": b"", ".py": b"", "c.tar.gz": b"", "d.gz": b""})

    assert paths(scan(tmp_path, extensions=[".py", ".tar.gz"])) == ["a.py", "c.tar.gz"]


def test_git_directories_are_never_entered_and_hidden_names_only_if_asked(tmp_path: Path) -> None:
    write(
        tmp_path, {".git/x": b"", ".h/x": b"", ".i": b"", "a": b"", "b/.git": b"", "b/.git2": b""}
    )

    assert paths(scan(tmp_path, ignore=False)) == [".h/x", ".i", "a", "b/.git2"]
    assert paths(scan(tmp_path, hidden=False)) == ["a"]


def test_ignore_rules_hold_on_every_level_and_not_above_the_root(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            ".gitignore": b"*.py\n",
            "r/.gitignore": b"*.o\nout/\n",
            "r/a.py": b"",
            "r/a.o": b"",
            "r/out/keep": b"",
            "r/s/.gitignore": b"!b.o\n",
            "r/s/a.o": b"",
            "r/s/b.o": b"",
        },
    )

    output = scan(root / "r", hidden=False)

    assert paths(output) == ["a.py", "s/b.o"]
    assert output["totals"]["ignored"] == 3


def test_symbolic_links_are_counted_and_odd_files_reported_unopened(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(".")
    os.mkfifo(tmp_path / "pipe")

    output = scan(tmp_path)

    assert output["errors"] == [{"error": "fifo", "path": "pipe"}]
    assert output["totals"]["symlinks"] == 1


def test_a_name_that_is_not_utf8_is_shown_and_kept(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))).write_bytes(b"")

    (file,) = scan(tmp_path, hash=False)["files"]

    assert (file["path"], file["path_raw"]) == ("caf�", b"caf\xe9")


def test_without_hash_and_lines_no_file_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"a": b"xy"})
    monkeypatch.setattr(scan_walk, "read_file", None)

    assert scan(tmp_path, hash=False, lines=False)["files"] == [{"bytes": 2, "path": "a"}]


def test_a_larger_file_than_asked_for_is_reported(tmp_path: Path) -> None:
    write(tmp_path, {"a": b"xy", "b": b"xyz"})

    for reads in (True, False):
        output = scan(tmp_path, max_file_bytes=2, hash=reads, lines=reads)
        assert paths(output) == ["a"]
        assert output["errors"] == [{"error": "too_large", "path": "b"}]


def test_one_file_too_many_fails_the_scan(tmp_path: Path) -> None:
    write(tmp_path, {"a": b"", "b": b""})

    assert len(paths(scan(tmp_path, max_files=2))) == 2
    with pytest.raises(ScanLimit, match="more than max_files=1 files and errors"):
        scan(tmp_path, max_files=1)


class Context:
    """Counts, and does something at the n-th look at the cancel flag."""

    def __init__(self, at: int = 0, act: object = None) -> None:
        self.polls, self.at, self.act = 0, at, act
        self.heard: list[tuple[int, int]] = []

    def cancelled(self) -> bool:
        self.polls += 1
        if self.polls == self.at and callable(self.act):
            return bool(self.act())
        return False

    def progress(self, done: int, total: int) -> None:
        self.heard.append((done, total))


def test_a_cancelled_scan_stops_at_the_next_look(tmp_path: Path) -> None:
    write(tmp_path, {f"f{i}": b"" for i in range(300)})
    context = Context(at=2, act=lambda: True)

    with pytest.raises(ScanCancelled):
        scan_codebase({"path": str(tmp_path)}, context)

    assert context.heard == [(64, 0)]


def test_a_file_that_grows_or_goes_while_it_is_read_is_reported(tmp_path: Path) -> None:
    big = tmp_path / "big"

    def grow() -> None:
        with big.open("ab") as file:
            file.write(b"x")

    for act, error in ((grow, "changed"), (big.unlink, "vanished")):
        big.write_bytes(b"x" * (3 << 20))
        output = scan_codebase({"path": str(tmp_path)}, Context(at=1, act=act))
        assert output["errors"] == [{"error": error, "path": "big"}]
        assert output["files"] == []


def test_a_file_that_goes_between_listing_and_opening_is_reported(tmp_path: Path) -> None:
    write(tmp_path, {f"f{i}": b"" for i in range(100)})

    def unlink_all() -> None:
        for file in tmp_path.iterdir():
            file.unlink()

    output = scan_codebase({"path": str(tmp_path)}, Context(at=1, act=unlink_all))

    assert {e["error"] for e in output["errors"]} == {"vanished"}  # type: ignore[attr-defined]
    assert len(output["files"]) + len(output["errors"]) == 100  # type: ignore[arg-type]


def test_a_tree_deeper_than_a_path_may_be_is_walked_with_few_descriptors(tmp_path: Path) -> None:
    levels, down = 100, "d" * 50  # 5,100 bytes: more than PATH_MAX
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(levels):
        for name in (down, "e"):
            os.mkdir(name, dir_fd=fd)
        below = os.open(down, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("end", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    open_most = 0

    class Watch(Context):
        def cancelled(self) -> bool:
            nonlocal open_most
            open_most = max(open_most, open_descriptors())
            return False

    open_before = open_descriptors()
    output: Any = scan_codebase({"path": str(tmp_path)}, Watch())

    assert [len(file["path"]) for file in output["files"]] == [51 * levels + 3]
    assert output["totals"]["directories"] == 2 * levels + 1
    assert output["errors"] == []
    assert 32 < open_most - open_before <= scan_walk.OPEN_DIRS_MAX + 4


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize(
    ("payload", "error", "message"),
    [
        (None, TypeError, "payload: must be a dict"),
        ({}, ValueError, "payload.path: is missing, must be an absolute path"),
        ({"path": 1}, TypeError, "payload.path: must be a str"),
        ({"path": "src"}, ValueError, "payload.path='src': must be an absolute path"),
        ({"path": "/", "depth": 1}, ValueError, "payload: unknown key 'depth', must be one of "),
        ({"path": "/", "hash": 1}, TypeError, "payload.hash: must be a bool"),
        ({"extensions": ["py"]}, ValueError, "payload.extensions[0]='py': must be a dot and 1 "),
        ({"extensions": ".py"}, TypeError, "payload.extensions: must be a list of str"),
        ({"extensions": []}, ValueError, "payload.extensions: must have 1 to 256 members"),
        ({"max_files": True}, TypeError, "payload.max_files: must be an int"),
        ({"max_files": 0}, ValueError, "payload.max_files=0: must be 1 to 10000000"),
        ({"path": "/a\nb/none"}, FileNotFoundError, "path='/a?b/none': there is no such"),
        ({"path": "/dev/null"}, NotADirectoryError, "path='/dev/null': is not a directory"),
    ],
)
def test_a_wrong_payload_is_refused_by_name(
    payload: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        scan_codebase(payload)

    assert type(caught.value) is error
    assert str(caught.value).startswith(message)
