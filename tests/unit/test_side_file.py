"""Files beside the journal: whole or not at all, and never trusted when they are not."""

import logging
from pathlib import Path

import pytest

from tandem_orchestrator.side_file import SideFile


def side_file(path: Path) -> SideFile[dict[str, int]]:
    return SideFile(path, "tandem test", dict[str, int])


def test_what_is_written_is_read_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "j.test"

    assert side_file(path).read() is None
    assert side_file(path).write({"a": 1})

    assert side_file(path).read() == {"a": 1}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["j.test"]


@pytest.mark.parametrize("cut", [0, 10, 80, -1])
def test_every_truncation_is_noticed_warned_of_and_put_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, cut: int
) -> None:
    path = tmp_path / "j.test"
    side_file(path).write({"a": 1})
    path.write_bytes(path.read_bytes()[:cut])

    with caplog.at_level(logging.WARNING):
        assert side_file(path).read() is None

    assert "put aside as j.test.corrupt" in caplog.text
    assert (tmp_path / "j.test.corrupt").exists() and not path.exists()


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "j.test"
    side_file(path).write({"a": 1, "b": 2})
    good = path.read_bytes()
    body = good.index(b"\n") + 1
    for i in range(body, len(good)):
        path.write_bytes(good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :])
        assert side_file(path).read() is None


def test_a_file_of_another_kind_or_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.test"
    side_file(path).write({"a": 1})

    assert SideFile(path, "tandem other", dict[str, int]).read() is None
    side_file(path).write({"a": 1})
    assert SideFile(path, "tandem test", dict[str, int], version=2).read() is None


def test_who_holds_the_lock_keeps_others_out(tmp_path: Path) -> None:
    one, other = side_file(tmp_path / "j.test"), side_file(tmp_path / "j.test")

    with one.locked() as held, other.locked() as also:
        assert (held, also) == (True, False)
    with other.locked() as later:
        assert later


def test_without_a_path_nothing_is_kept() -> None:
    none: SideFile[dict[str, int]] = SideFile(None, "tandem test", dict[str, int])

    assert not none.write({"a": 1})
    assert none.read() is None


def test_a_folder_that_cannot_be_written_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = tmp_path / "gone"

    assert not side_file(gone / "j.test").write({"a": 1})

    assert "cannot be written" in caplog.text
    assert not gone.exists()
