import fcntl
import os
from pathlib import Path

import pytest

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.lease import Lease, is_held, lease_folder


def test_a_lease_is_held_from_take_to_give_back(tmp_path: Path) -> None:
    lease = Lease(tmp_path / "leases", "a.b")
    assert not is_held(tmp_path / "leases", "a.b")
    lease.take()
    assert is_held(tmp_path / "leases", "a.b")
    assert not is_held(tmp_path / "leases", "a")
    lease.give_back()
    lease.give_back()
    assert not is_held(tmp_path / "leases", "a.b")
    assert list((tmp_path / "leases").iterdir()) == []


def test_an_owner_takes_its_lease_once(tmp_path: Path) -> None:
    first = Lease(tmp_path, "a")
    first.take()
    with pytest.raises(JournalError, match="owner a has its lease already"):
        Lease(tmp_path, "a").take()
    assert is_held(tmp_path, "a")
    first.give_back()


def test_a_file_without_a_lock_is_a_dead_owner_and_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / "dead.lease").touch()
    (tmp_path / "old.new").touch()
    os.utime(tmp_path / "old.new", (0, 0))
    (tmp_path / "young.new").touch()
    (tmp_path / "setup.lock").touch()
    other = Lease(tmp_path, "other")
    other.take()
    assert not is_held(tmp_path, "dead")

    mine = Lease(tmp_path, "mine")
    mine.take()

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mine.lease",
        "other.lease",
        "setup.lock",
        "young.new",
    ]
    mine.give_back()
    other.give_back()


def test_looking_does_not_take(tmp_path: Path) -> None:
    (tmp_path / "a.lease").touch()
    assert not is_held(tmp_path, "a")
    descriptor = os.open(tmp_path / "a.lease", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert is_held(tmp_path, "a")
    os.close(descriptor)


@pytest.mark.parametrize("owner", ["", "../a", "a/b", ".hidden", "a\x00", "x" * 65, "ä"])
def test_an_owner_that_is_no_plain_name_is_refused(tmp_path: Path, owner: str) -> None:
    with pytest.raises(JournalError, match="1 to 64"):
        Lease(tmp_path, owner)
    assert not is_held(tmp_path, owner)


def test_the_leases_lie_beside_their_journal() -> None:
    assert lease_folder(Path("/x/j.db")) == Path("/x/j.db.leases")
