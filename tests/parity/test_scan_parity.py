"""`docgen.scan_codebase`: both layers give the same bytes on the same tree.

The C side runs in `docgen_scan_host`, without a bridge. msgspec writes a dict in its own order
and in shortest form, and the Python layer's keys are in byte order, so what is compared are
canonical bodies, byte for byte.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tandem_orchestrator.agents.docgen import scan_file, scan_walk
from tandem_orchestrator.agents.docgen.scan import scan_codebase
from tandem_orchestrator.agents.docgen.scan_request import read_request

FILES_MIN = 30_000
GIT_ENV = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "LC_ALL": "C",
}

Native = Callable[..., bytes]
"""Takes the payload and options of the tool."""


@pytest.fixture(scope="session")
def native() -> Native:
    """Return a function that runs the C action and returns its body, output or failure."""
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

    def run(payload: dict[str, Any], *options: str) -> bytes:
        done = subprocess.run(
            [program, *options],
            input=msgspec.msgpack.encode(payload),
            capture_output=True,
            timeout=50,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        assert done.stderr == b""
        return done.stdout

    return run


def python(payload: dict[str, Any]) -> bytes:
    """Run the Python action; a failure becomes the body that C gives it."""
    try:
        return msgspec.msgpack.encode(scan_codebase(payload))
    except Exception as error:  # noqa: BLE001 - its type and words are what is compared
        return msgspec.msgpack.encode({"type": type(error).__name__, "message": str(error)})


def assert_same(left: bytes, right: bytes) -> None:
    """Compare two bodies; on a difference show the first entries that differ, not megabytes."""
    if left == right:
        return
    ours, theirs = msgspec.msgpack.decode(left), msgspec.msgpack.decode(right)
    for key in ("errors", "files"):
        for a, b in itertools.zip_longest(ours.get(key, ()), theirs.get(key, ())):
            assert a == b, key
    ours, theirs = ({k: v for k, v in o.items() if k != "files"} for o in (ours, theirs))
    assert ours == theirs
    pytest.fail("equal values in unequal bytes")


def plain_tree(root: Path, files: int) -> Path:
    """Make a tree of small files, some of them ignored."""
    (root / ".gitignore").write_text("*.tmp\n/d1/**/x\n!d2/*.tmp\n")
    for index in range(files):
        folder = root / f"d{index % 7}" / f"e{index % 61}"
        if index < 7 * 61:
            folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{index}{('.py', '.c', '.tmp')[index % 3]}").write_text(f"{index}\n" * 3)
    return root


def real_trees() -> Iterator[str]:
    """Name big trees that most machines have, the most telling first."""
    for tree in ("/usr/share", "/usr/include", f"{sys.base_prefix}/lib", "/usr/lib"):
        if Path(tree).is_dir():
            yield tree


def compare_while_still(native: Native, payload: dict[str, Any]) -> int:
    """Compare both layers on a tree that others may be changing; return its number of files."""
    for _ in range(3):
        left, right = python(payload), native(payload)
        if left == right:
            return int(msgspec.msgpack.decode(left)["totals"]["files"])
        if python(payload) == left:  # the tree held still: the layers differ
            assert_same(left, right)
    return 0


@pytest.mark.timeout(300)
def test_real_trees_of_many_files_scan_alike(native: Native, tmp_path: Path) -> None:
    files = 0
    for tree in real_trees():
        files += compare_while_still(native, {"path": tree})
        if files > FILES_MIN:
            break
    if files <= FILES_MIN:
        tree = str(plain_tree(tmp_path, FILES_MIN + 1000))
        files += compare_while_still(native, {"path": tree, "ignore": False})

    assert files > FILES_MIN


@pytest.mark.parametrize(
    "options",
    [
        {"hash": False},
        {"lines": False},
        {"hash": False, "lines": False},
        {"ignore": False},
        {"hidden": False},
        {"extensions": [".py", ".tmp"]},
        {"extensions": None, "max_file_bytes": 14},
        {"max_file_bytes": 14, "hash": False, "lines": False},
        {"max_files": 5},
    ],
    ids=str,
)
def test_every_option_means_the_same(
    native: Native, tmp_path: Path, options: dict[str, Any]
) -> None:
    root = plain_tree(tmp_path, 500)
    (root / ".hidden").write_text("x")
    payload = {"path": str(root), **options}

    assert_same(python(payload), native(payload))


def test_any_number_of_helper_threads_gives_the_same_bytes(native: Native, tmp_path: Path) -> None:
    payload = {"path": str(plain_tree(tmp_path, 3000))}

    body = python(payload)

    for helpers in ("0", "1", "3"):
        assert_same(body, native(payload, "--helpers", helpers))


def test_names_are_shown_alike_whatever_their_bytes(native: Native, tmp_path: Path) -> None:
    # Every row of the Unicode table of well-formed bytes has its first and last here.
    telling = bytes.fromhex("41 80 8f 90 9f a0 bf c0 c1 c2 df e0 e1 ec ed ef f0 f1 f4 f5 ff")
    parts = [bytes(p) for n in (1, 2, 3) for p in itertools.product(telling, repeat=n)]
    parts += [bytes(p) for p in itertools.product(b"\xf0\xf1\xf4\xe2", *[telling] * 3)]
    folder = os.fsencode(tmp_path)
    for start in range(0, len(parts), 40):
        Path(os.fsdecode(folder + b"/" + b"A".join(parts[start : start + 40]))).touch()

    payload = {"path": str(tmp_path), "hash": False}
    assert_same(python(payload), native(payload))


def test_a_root_that_is_not_utf8_is_named_by_its_bytes(native: Native, tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/\xff"
    Path(os.fsdecode(raw)).mkdir()
    Path(os.fsdecode(raw + b"/a")).write_text("a")
    payload = {"path": raw.decode("utf-8", "replace"), "path_raw": raw}

    body = python(payload)

    assert msgspec.msgpack.decode(body)["root_raw"] == raw
    assert_same(body, native(payload))


@pytest.mark.parametrize("root", ["none", "file", "loop", "file/below", "x" * 300, "\x1b[31m", ""])
def test_a_root_that_cannot_be_read_fails_alike(native: Native, tmp_path: Path, root: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    payload = {"path": f"{tmp_path}/{root}"}

    assert_same(python(payload), native(payload))


SIMPLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),  # msgspec writes a NaN as it is, which is not strict
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    st.binary(max_size=8),
    st.just("/none"),
    st.just(b"/none"),
)
VALUES = st.one_of(SIMPLE, st.lists(SIMPLE, max_size=3), st.just([".py"]), st.just({}))
KEYS = st.one_of(
    st.sampled_from(
        ["extensions", "hash", "hidden", "ignore", "lines", "max_file_bytes", "max_files", "path"]
    ),
    st.sampled_from(["path", "path_raw"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=70),
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(payload=st.dictionaries(KEYS, VALUES, max_size=4))
def test_a_wrong_payload_fails_in_the_same_words(native: Native, payload: dict[str, Any]) -> None:
    with suppress(ValueError, TypeError):
        # A payload that happens to be right would scan a real tree.
        if read_request(payload).root.strip(b"/.") != b"none":
            return

    assert_same(python(payload), native(payload))


DIRS = ["a", "b", "a/b", "a/a", "b/a", "a/b/c", "a/b/a", " ", ".d", "ab", "a/ab"]
NAMES = ["a1", "b1", "c1", "x.b", ".a", "!", "#", "a ", "[", "a[b]", "\\", "*", "-", "aab", "aabc"]
ATOMS = st.sampled_from(
    ["a", "b", "c", "1", ".", "*", "**", "***", "?", "/", "/", "**/", "/**", "/**/", "\\", "!", "#",
     " ", "\\ ", "[", "]", "[a", "[!a]", "[^b]", "[a-c]", "[]a]", "[a-]", "[[:alpha:]]", "[[:x:]]",
     "[[:]", "[\\]]", "[c-a]", "[/]", "\\*", "\\/", "-", "[[:upper:]a]", "\r", "\t", "[!-a]",
     "[a-\\c]", "\0", "é", "a*", "*b", "x.b", "aab"]
)  # fmt: skip
PARTS = st.sampled_from(
    [
        *DIRS[4:],
        "a",
        "b",
        "c",
        "a1",
        "b1",
        "x.b",
        "aab",
        "a\\ ",
        "**",
        "**",
        "*",
        "?1",
        "*b",
        "[ab]",
    ]
)
LINES = st.one_of(
    st.lists(ATOMS, max_size=7).map("".join),
    st.tuples(
        st.sampled_from(["", "", "!", "/"]),
        st.lists(PARTS, min_size=1, max_size=4).map("/".join),
        st.sampled_from(["", "", "/", " ", "\\"]),
    ).map("".join),
)
IGNORE_FILES = st.lists(LINES, max_size=5).map(lambda lines: "\n".join(lines).encode())


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a git repository with a file of each name in each directory."""
    root = tmp_path_factory.mktemp("ignore")
    init = ["git", "init", "-q", "--template=", str(root)]
    subprocess.run(init, check=True, env=GIT_ENV, timeout=30)
    for folder in ["", *DIRS]:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            (root / folder / name).touch()
    return root


def kept_by_git(root: Path) -> list[str]:
    """Ask `git check-ignore` about every file of the tree, .gitignore files included."""
    files = [
        f"{Path(folder, name).relative_to(root)}"
        for folder, _, names in os.walk(root)
        for name in names
    ]
    files = [file for file in files if not file.startswith(".git/")]
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", "-z", "--stdin"],
        input="\0".join(files).encode(),
        capture_output=True,
        cwd=root,
        env=GIT_ENV,
        timeout=30,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return sorted(set(files) - set(done.stdout.decode().split("\0")))


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(top=IGNORE_FILES, nested=IGNORE_FILES, deep=IGNORE_FILES)
def test_both_layers_keep_what_git_keeps(
    native: Native, repository: Path, top: bytes, nested: bytes, deep: bytes
) -> None:
    for folder, data in (("", top), ("a", nested), ("a/b", deep)):
        (repository / folder / ".gitignore").write_bytes(data)
    payload = {"path": str(repository), "hash": False, "lines": False}

    body = native(payload)

    assert_same(python(payload), body)
    assert [file["path"] for file in msgspec.msgpack.decode(body)["files"]] == kept_by_git(
        repository
    )


@pytest.mark.parametrize(
    "line",
    ["a/**/a1", "*/**/a1", "[ab]/**/b/*1", "**/b/a1", "a/**", "a/**/", "/**/a1", "a**/b1", "a/*", "a/*/a1", "*/b/*1",
     "a/b/", "/a1", "a1/", "b/", "*.b", "x.*", "a[[:digit:]]", "[!a]1", "[a-b]1", "[]a]1", "[", "[[]",
     "a\\[b\\]", "\\*", "\\\\", "\\!", "\\#", "a\\ ", "a  ", "a1\r", "\ufeffa1", "?1", "**1", "***/a1",
     "a1\n!a/a1", "*\n!a\n!*.b", "*\n!*/\n!x.b", "a/\n!a/b/", "[[:upper:]a-c]1", "[a-\\c]1", "a/**b/a1"],
)  # fmt: skip
def test_a_telling_line_means_what_it_means_to_git(
    native: Native, repository: Path, line: str
) -> None:
    for folder in ("a", "a/b"):
        (repository / folder / ".gitignore").write_bytes(b"")
    (repository / ".gitignore").write_bytes(line.encode() + b"\n")
    payload = {"path": str(repository), "hash": False, "lines": False}

    body = native(payload)

    assert_same(python(payload), body)
    assert [file["path"] for file in msgspec.msgpack.decode(body)["files"]] == kept_by_git(
        repository
    )


def off_by_one_line(read_file: Callable[..., scan_file.FileFacts]) -> Callable[..., object]:
    """Plant the classic: a last line without a newline is not counted."""

    def read(dir_fd: int, name: bytes, **options: Any) -> scan_file.FileFacts:
        facts = read_file(dir_fd, name, **options)
        lines = facts.lines if facts.size_bytes != 5 else 0
        return scan_file.FileFacts(facts.size_bytes, lines, facts.sha256)

    return read


@pytest.mark.parametrize("bug", ["lines", "links"])
def test_a_planted_difference_is_noticed(
    native: Native, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: str
) -> None:
    root = plain_tree(tmp_path, 50)
    (root / "short").write_text("12345")
    (root / "link").symlink_to("short")
    payload = {"path": str(root)}
    assert_same(python(payload), native(payload))

    if bug == "lines":
        monkeypatch.setattr(scan_walk, "read_file", off_by_one_line(scan_file.read_file))
    else:
        monkeypatch.setattr(scan_walk.Walk, "symlinks", property(lambda _: 0, lambda *_: None))

    with pytest.raises(AssertionError):
        assert_same(python(payload), native(payload))
