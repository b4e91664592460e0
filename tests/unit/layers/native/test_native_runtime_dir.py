"""The directory of sockets is private, ours, and refused when it is not."""

import fcntl
import os
import socket
from pathlib import Path

import pytest

from tandem_orchestrator.errors import LayerUnavailable
from tandem_orchestrator.layers.native.runtime_dir import (
    LOCK_NAME,
    SWEEP_AGE_S,
    clear_bridge_dir,
    make_runtime_dir,
    sweep_runtime_dir,
)


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o7777


def test_it_is_made_private_under_xdg_runtime_dir_whatever_the_umask(tmp_path: Path):
    before = os.umask(0)
    try:
        made = make_runtime_dir({"XDG_RUNTIME_DIR": str(tmp_path)})
    finally:
        os.umask(before)
    assert made == tmp_path / "tandem"
    assert mode(made) == 0o700


def test_without_xdg_runtime_dir_it_is_in_the_temporary_directory(tmp_path: Path):
    made = make_runtime_dir({}, temporary=str(tmp_path))
    assert made == tmp_path / f"tandem-{os.geteuid()}"
    assert mode(made) == 0o700


@pytest.mark.parametrize("base", ["relative/run", "/no/such/directory", ""])
def test_an_xdg_runtime_dir_that_is_no_directory_of_ours_is_not_used(tmp_path: Path, base: str):
    made = make_runtime_dir({"XDG_RUNTIME_DIR": base}, temporary=str(tmp_path))
    assert made.parent == tmp_path


def test_one_that_is_there_already_is_used_again(tmp_path: Path):
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert make_runtime_dir(environ) == make_runtime_dir(environ)


@pytest.mark.parametrize("wide", [0o755, 0o770, 0o701, 0o500])
def test_a_mode_other_than_0700_is_refused_and_left_alone(tmp_path: Path, wide: int):
    (tmp_path / "tandem").mkdir()
    (tmp_path / "tandem").chmod(wide)
    with pytest.raises(LayerUnavailable, match=f"mode {wide:04o}, must be 0700"):
        make_runtime_dir({"XDG_RUNTIME_DIR": str(tmp_path)})
    assert mode(tmp_path / "tandem") == wide


def test_a_link_to_a_private_directory_is_refused(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "tandem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LayerUnavailable, match="is not a directory"):
        make_runtime_dir({"XDG_RUNTIME_DIR": str(tmp_path)})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_foreign_owner_is_refused(tmp_path: Path):
    (tmp_path / "tandem").mkdir(mode=0o700)
    os.chown(tmp_path / "tandem", 12345, -1)
    with pytest.raises(LayerUnavailable, match="owned by uid 12345"):
        make_runtime_dir({"XDG_RUNTIME_DIR": str(tmp_path)})


def test_one_that_cannot_be_made_names_the_path_and_the_reason(tmp_path: Path):
    with pytest.raises(LayerUnavailable, match=r"no/where/tandem-\d+: cannot be made"):
        make_runtime_dir({}, temporary=str(tmp_path / "no" / "where"))


# --- what dead bridges leave ---------------------------------------------------------------------


def leave_behind(folder: Path) -> None:
    """What a killed bridge leaves."""
    folder.mkdir(mode=0o700)
    (folder / LOCK_NAME).touch(mode=0o600)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(folder / "bridge.sock"))
    listener.close()


def test_what_a_dead_bridge_left_is_removed(tmp_path: Path):
    leave_behind(tmp_path / "dead")
    assert clear_bridge_dir(tmp_path / "dead")
    assert list(tmp_path.iterdir()) == []
    assert clear_bridge_dir(tmp_path / "dead")  # nothing there is fine as well


def test_what_a_living_bridge_holds_is_left_alone(tmp_path: Path):
    leave_behind(tmp_path / "alive")
    with (tmp_path / "alive" / LOCK_NAME).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not clear_bridge_dir(tmp_path / "alive")
        assert (tmp_path / "alive" / "bridge.sock").exists()


def test_a_directory_that_holds_anything_else_stays(tmp_path: Path):
    leave_behind(tmp_path / "odd")
    (tmp_path / "odd" / "notes.txt").touch()
    assert not clear_bridge_dir(tmp_path / "odd")
    assert (tmp_path / "odd" / "notes.txt").exists()


def test_a_sweep_takes_old_leftovers_and_spares_the_young(tmp_path: Path):
    leave_behind(tmp_path / "old")
    leave_behind(tmp_path / "young")
    (tmp_path / "file").touch()
    now_s = (tmp_path / "old").stat().st_mtime + SWEEP_AGE_S
    os.utime(tmp_path / "young", (now_s, now_s - SWEEP_AGE_S + 1))
    sweep_runtime_dir(tmp_path, now_s=now_s)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "young"]
