"""The directory of sockets is private, ours, and refused when it is not."""

import os
from pathlib import Path

import pytest

from tandem_orchestrator.errors import LayerUnavailable
from tandem_orchestrator.layers.native.runtime_dir import make_runtime_dir, socket_path


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


def test_a_socket_path_too_long_for_the_kernel_names_the_bound():
    folder = Path("/" + "x" * 100)
    assert socket_path(folder, "a.soc")  # 107 bytes: the longest
    with pytest.raises(LayerUnavailable, match="108 bytes, at most 107"):
        socket_path(folder, "a.sock")
