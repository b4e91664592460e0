"""Ignore rules against git itself: `git check-ignore` is the oracle."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tandem_orchestrator.agents.docgen.scan_glob import Glob
from tandem_orchestrator.agents.docgen.scan_ignore import IgnoreRules, read_rules

GIT_ENV = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "LC_ALL": "C",
}

DIRS = ["a", "b", "a/b", "a/a", "b/a", "a/b/c", "a/b/a", " ", "a ", ".d", "ab", "a/ab"]
NAMES = ["a", "b", "c", "ab", "a.b", ".a", "!", "#", "a ", "[", "a[b]", "\\", "*", "-", "aab", "A"]
PATHS = [
    *NAMES,
    *(f"{d}/{n}" for d in DIRS for n in NAMES),
]
"""Asked as paths that need not exist: `--no-index` takes their shape from the tree's dirs."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ignore")
    subprocess.run(
        ["git", "init", "-q", "--template=", str(root)], check=True, env=GIT_ENV, timeout=30
    )
    for name in DIRS:
        (root / name).mkdir(parents=True, exist_ok=True)
    return root


def ignored_by_git(root: Path, paths: list[str]) -> set[str]:
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", "-z", "--stdin"],
        input="\0".join(paths).encode(),
        capture_output=True,
        cwd=root,
        env=GIT_ENV,
        timeout=30,
    )
    assert done.returncode in (0, 1), done.stderr
    return {os.fsdecode(p) for p in done.stdout.split(b"\0") if p}


def ignored_by_us(root: Path, files: dict[str, bytes], paths: list[str]) -> set[str]:
    """Do what the walk does: a path is out if it, or a directory above it, is."""
    levels = {
        where: IgnoreRules(read_rules(data), len(where) + 1 if where else 0)
        for where, data in files.items()
    }

    def verdict(path: str) -> bool:
        parts = path.split("/")
        rules: IgnoreRules | None = None
        for depth in range(len(parts)):
            where = "/".join(parts[:depth])
            if where in levels:
                level = levels[where]
                rules = IgnoreRules(level.rules, level.base_bytes, rules)
            here = "/".join(parts[: depth + 1])
            is_dir = (root / here).is_dir()
            if rules and rules.ignores(os.fsencode(here), os.fsencode(parts[depth]), is_dir=is_dir):
                return True
        return False

    return {path for path in paths if verdict(path)}


ATOMS = st.sampled_from(
    ["a", "b", "c", "ab", ".", "*", "**", "***", "?", "/", "/", "**/", "/**", "/**/", "\\", "!", "#",
     " ", "\\ ", "[", "]", "[a", "[!a]", "[^b]", "[a-c]", "[]a]", "[a-]", "[[:alpha:]]", "[[:x:]]",
     "[[:]", "[\\]]", "[c-a]", "[/]", "\\*", "\\/", "-", "[[:upper:]a]", "\r", "\t", "[!-a]", "[a-\\c]"]
)  # fmt: skip
PARTS = st.sampled_from(["a", "b", "c", "ab", "a.b", "a\\ ", "**", "**", "*", "?b", "*b", "[ab]"])
LINES = st.one_of(
    st.lists(ATOMS, max_size=7).map("".join),
    st.tuples(
        st.sampled_from(["", "", "!", "/"]),
        st.lists(PARTS, min_size=1, max_size=4).map("/".join),
        st.sampled_from(["", "", "/", " ", "\\"]),
    ).map("".join),
)
FILES = st.lists(LINES, max_size=4).map(lambda lines: "\n".join(lines).encode())


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(top=FILES, nested=FILES, deep=FILES)
def test_every_verdict_is_the_one_git_gives(
    repository: Path, top: bytes, nested: bytes, deep: bytes
) -> None:
    files = {"": top, "a": nested, "a/b": deep}
    for where, data in files.items():
        (repository / where / ".gitignore").write_bytes(data)

    assert ignored_by_us(repository, files, PATHS) == ignored_by_git(repository, PATHS)


@pytest.mark.parametrize(
    ("pattern", "hit", "miss"),
    [
        ("a**/b", "ab", "axb"),
        ("**/b", "a/c/b", "a/cb"),
        ("a/**", "a/b/c", "a"),
        ("a/**/b", "a/b", "a/cb"),
        ("**/**/b", "b", "ab"),
        ("a/*", "a/b", "b/a"),
        ("[[:space:]]", "\t", "\v"),
        ("\\!a", "!a", "a"),
        ("a\\ ", "a ", "a"),
        ("[]-]", "]", "a"),
    ],
)
def test_an_odd_corner_is_as_git_has_it(pattern: str, hit: str, miss: str) -> None:
    rules = IgnoreRules(read_rules(pattern.encode()), 0)

    def ignores(path: str) -> bool:
        return rules.ignores(path.encode(), path.rpartition("/")[2].encode(), is_dir=False)

    assert (ignores(hit), ignores(miss)) == (True, False)


def test_a_pattern_of_many_stars_costs_no_more_than_its_length() -> None:
    stars = 200
    steps = 0

    class Counted(bytes):
        def __iter__(self):  # type: ignore[no-untyped-def]
            nonlocal steps
            for byte in super().__iter__():
                steps += 1
                yield byte

    text = Counted(b"a" * 4000 + b"b")
    assert not Glob(b"*a" * stars, pathname=True).matches(text)
    assert steps == len(text)
