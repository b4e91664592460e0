"""Writing pages into a folder: only what is ours is touched, and a cut-off writing is taken up."""

import json
import os
import stat
from pathlib import Path

import pytest

from tandem_orchestrator.agents.docgen import analyze, page_folder
from tandem_orchestrator.agents.docgen.page_folder import (
    MANIFEST_NAME,
    TEMPORARY_NAME,
    OutputBusy,
    OutputConflict,
    Written,
    write_pages,
)

PAGES = {"index.md": "# i\n", "modules/a.md": "# a\n", "modules/b.md": "# b\n"}


def files_in(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST_NAME and path.parent.name != TEMPORARY_NAME
    }


def test_pages_are_written_once_and_then_left_alone(tmp_path):
    folder = tmp_path / "deep" / "docs"

    first = write_pages(folder, PAGES)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.md")}
    second = write_pages(folder, PAGES)

    assert first == Written(written=3)
    assert second == Written(unchanged=3)
    assert files_in(folder) == PAGES
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.md")} == times
    assert sorted(p.name for p in folder.iterdir()) == [MANIFEST_NAME, "index.md", "modules"]


def test_changed_pages_are_replaced_and_pages_that_went_are_removed(tmp_path):
    write_pages(tmp_path, PAGES)

    result = write_pages(tmp_path, {"index.md": "# new\n", "modules/a.md": "# a\n"})

    assert result == Written(written=1, unchanged=1, removed=1)
    assert files_in(tmp_path) == {"index.md": "# new\n", "modules/a.md": "# a\n"}


def test_foreign_files_are_never_touched(tmp_path):
    (tmp_path / "modules").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "modules" / "mine.md").write_text("mine")

    write_pages(tmp_path, PAGES)
    write_pages(tmp_path, {"index.md": "x"})

    assert files_in(tmp_path) == {"index.md": "x", "notes.txt": "mine", "modules/mine.md": "mine"}


def test_a_foreign_file_where_a_page_must_go_stops_it_before_anything_is_written(tmp_path):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "b.md").write_text("mine")

    with pytest.raises(OutputConflict, match=r"modules/b\.md would be overwritten"):
        write_pages(tmp_path, PAGES, overwrite=True)

    assert files_in(tmp_path) == {"modules/b.md": "mine"}


@pytest.mark.parametrize("kind", ["directory", "link", "fifo"])
def test_what_is_no_regular_file_is_foreign(tmp_path, kind):
    target = tmp_path / "index.md"
    if kind == "directory":
        target.mkdir()
    elif kind == "link":
        (tmp_path / "elsewhere").write_text("# i\n")
        target.symlink_to("elsewhere")
    else:
        os.mkfifo(target)

    with pytest.raises(OutputConflict, match=r"index\.md"):
        write_pages(tmp_path, PAGES)


def test_a_folder_that_is_a_link_is_not_written_through(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "modules").symlink_to(tmp_path / "outside")

    with pytest.raises(OutputConflict):
        write_pages(tmp_path / "docs", PAGES)

    assert list((tmp_path / "outside").iterdir()) == []


def test_a_page_that_someone_edited_is_kept_until_told_otherwise(tmp_path):
    write_pages(tmp_path, PAGES)
    (tmp_path / "index.md").write_text("# edited\n")
    (tmp_path / "modules" / "b.md").write_text("# edited, and no longer a page\n")
    newer = {"index.md": "# newer\n", "modules/a.md": "# a\n"}

    results = [write_pages(tmp_path, newer) for _ in range(2)]

    assert [result.kept for result in results] == [["index.md"], ["index.md"]]
    assert (tmp_path / "index.md").read_text() == "# edited\n"
    assert (tmp_path / "modules" / "b.md").exists()
    assert write_pages(tmp_path, newer, overwrite=True).kept == []
    assert (tmp_path / "index.md").read_text() == "# newer\n"


def test_a_page_that_someone_deleted_is_written_again(tmp_path):
    write_pages(tmp_path, PAGES)
    (tmp_path / "index.md").unlink()

    assert write_pages(tmp_path, PAGES).written == 1


@pytest.mark.parametrize("cut_after", range(1, 7))
def test_a_writing_cut_off_anywhere_is_taken_up_by_the_next(tmp_path, monkeypatch, cut_after):
    write_pages(tmp_path, {"index.md": "old", "modules/a.md": "old", "modules/gone.md": "old"})
    done = 0
    replace, unlink = Path.replace, Path.unlink

    class PowerCut(BaseException):
        pass

    def count(action):
        def counted(path, *args, **kwargs):
            nonlocal done
            done += 1
            if done == cut_after:
                raise PowerCut
            return action(path, *args, **kwargs)

        return counted

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", count(replace))
        patch.setattr(Path, "unlink", count(unlink))
        # Nobody cleans up after a power cut.
        patch.setattr(page_folder, "_remove_own_tree", lambda path: None)
        with pytest.raises(PowerCut):
            write_pages(tmp_path, PAGES)

    # No page is ever half a page, and the next writing finds only what it may replace.
    assert set(files_in(tmp_path).values()) <= {"old", *PAGES.values()}
    result = write_pages(tmp_path, PAGES)
    assert result.kept == []
    assert files_in(tmp_path) == PAGES


def test_without_the_first_manifest_a_cut_off_writing_would_be_stuck(tmp_path, monkeypatch):
    """The planted bug: the manifest written last only."""
    write_pages(tmp_path, {"index.md": "old"})
    write_manifest, calls = page_folder._write_manifest, []

    def only_last(folder, temporary, pages):
        calls.append(pages)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return None if len(calls) == 1 else write_manifest(folder, temporary, pages)

    monkeypatch.setattr(page_folder, "_write_manifest", only_last)
    with pytest.raises(KeyboardInterrupt):
        write_pages(tmp_path, PAGES)
    monkeypatch.undo()

    assert write_pages(tmp_path, {**PAGES, "index.md": "newest"}).kept == ["index.md"]


def test_two_generations_do_not_write_to_one_folder_at_once(tmp_path):
    with page_folder._locked(tmp_path), pytest.raises(OutputBusy, match="another generation"):
        write_pages(tmp_path, PAGES)

    assert write_pages(tmp_path, PAGES).written == 3


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_an_output_that_is_no_directory_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("x")

    with pytest.raises(OutputConflict, match="is not a directory"):
        write_pages(tmp_path / name, PAGES)

    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize(
    "manifest",
    ["", "[]", '{"pages": 1}', '{"pages": {"../x": []}}', '{"pages": {"/etc/x": []}}',
     '{"pages": {"a/b/c": []}}', '{"pages": {"..": []}}', "[" * 100_000],
)  # fmt: skip
def test_a_manifest_that_is_not_ours_is_refused(tmp_path, manifest):
    (tmp_path / MANIFEST_NAME).write_text(manifest)

    with pytest.raises(OutputConflict, match="was not written by docgen"):
        write_pages(tmp_path, PAGES)


def test_a_manifest_cannot_make_us_remove_what_lies_behind_a_link(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.md").write_text("mine")
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "way").symlink_to(tmp_path / "outside")
    digest = page_folder._digest(tmp_path / "outside" / "x.md")
    (docs / MANIFEST_NAME).write_text(json.dumps({"pages": {"way/x.md": [digest]}}))

    write_pages(docs, PAGES, overwrite=True)

    assert (tmp_path / "outside" / "x.md").read_text() == "mine"


def test_pages_can_be_read_by_others_as_the_umask_says(tmp_path):
    old = os.umask(0o022)
    try:
        write_pages(tmp_path / "docs", PAGES)
    finally:
        os.umask(old)

    assert stat.S_IMODE((tmp_path / "docs" / "index.md").stat().st_mode) == 0o644


def test_analysis_and_writing_agree_on_the_name_of_the_manifest():
    assert analyze.MANIFEST_NAME == MANIFEST_NAME
