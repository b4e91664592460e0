"""Capsules are found across runs, by what they are about."""

from collections.abc import AsyncIterator

import pytest

from tandem_orchestrator.errors import CapsuleError
from tandem_orchestrator.journal import Journal, MemoryJournal
from tandem_orchestrator.model.events import Judged
from tandem_orchestrator.observe import CapsuleFilter, list_capsules, read_capsule
from tandem_orchestrator.testing.journal_events import accepted
from tandem_orchestrator.twins import Capsule, make_capsule
from tandem_orchestrator.twins.capsule_file import capsule_to_text

ALL = ["run3.c2", "run3.c1", "run2.c2", "run2.c1", "run1.c2", "run1.c1"]


@pytest.fixture
async def journal() -> AsyncIterator[Journal]:
    """Three runs with two conflicts each, one with a capsule of each of two actions."""
    one = MemoryJournal()
    await one.open("owner")
    for n in (1, 2, 3):
        run = f"run{n}"
        events = [accepted(run), Judged(step="s", verdict="agreed", at_ns=n * 10)]
        for i, action in ((1, "round"), (2, "rate")):
            capsule = make_capsule(
                id=f"{run}.c{i}", run=run, step=f"s{i}", agent="money", action=action, payload=n,
                outcomes=[], fields=[],
            )  # fmt: skip
            conflict = {"id": f"c{i}"}
            events.append(
                Judged(step=f"s{i}", verdict="conflict", conflict=conflict,
                       capsule=capsule.to_value(), at_ns=n * 10 + i)
            )  # fmt: skip
        await one.append(run, events, "group").durable()
    yield one
    await one.close()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (CapsuleFilter(), ALL),
        (CapsuleFilter(run="run2"), ["run2.c2", "run2.c1"]),
        (CapsuleFilter(step="s1"), ["run3.c1", "run2.c1", "run1.c1"]),
        (CapsuleFilter(agent="money", action="rate"), ["run3.c2", "run2.c2", "run1.c2"]),
        (CapsuleFilter(agent="other"), []),
        (CapsuleFilter(run="run1", action="round"), ["run1.c1"]),
    ],
)
async def test_a_filter_gives_what_it_names_newest_first(journal, wanted, found):
    assert [c.id for c in await list_capsules(journal, wanted)] == found
    assert [c.id for c in await list_capsules(journal, wanted, limit=1)] == found[:1]


@pytest.mark.parametrize(
    ("word", "found"),
    [("run2.c1", "run2.c1"), ("run2.c2", "run2.c2"), ("last", "run3.c2")],
)
async def test_one_is_read_by_its_id_or_as_the_last(journal, word, found):
    assert (await read_capsule(journal, word)).id == found


@pytest.mark.parametrize(
    ("word", "told"),
    [("run9.c1", "'run9.c1' is not here"), ("run1", "several begin so: run1.c2, run1.c1")],
)
async def test_a_word_that_means_none_or_several_is_refused(journal, word, told):
    with pytest.raises(CapsuleError, match=told):
        await read_capsule(journal, word)


async def test_an_empty_journal_has_no_last_one():
    journal = MemoryJournal()
    await journal.open(None)

    with pytest.raises(CapsuleError, match="no capsule"):
        await read_capsule(journal, "last")


def shadow(n: int, at_ns: int) -> Capsule:
    return make_capsule(
        id=f"run{n}.s1", run=f"run{n}", step="s1", agent="money", action="round", payload=n,
        outcomes=[], fields=[], at_ns=at_ns,
    )  # fmt: skip


async def test_what_shadows_differ_on_is_found_as_well(journal, tmp_path):
    for n, at_ns in ((1, 5), (7, 3)):
        capsule = shadow(n, at_ns)
        (tmp_path / f"{capsule.id}.capsule.json").write_text(capsule_to_text(capsule))

    found = [c.id for c in await list_capsules(journal, folder=tmp_path)]
    assert found[:2] == ["run1.s1", "run7.s1"]
    assert sorted(found[2:]) == sorted(ALL)
    wanted = CapsuleFilter(run="run1")
    assert len(await list_capsules(journal, wanted, folder=tmp_path)) == 3
    assert (await read_capsule(journal, "last", folder=tmp_path)).id == "run1.s1"
    assert (await read_capsule(journal, "run7", folder=tmp_path)).id == "run7.s1"
    assert (await read_capsule(journal, "run1.s1", folder=tmp_path)).payload == 1
    with pytest.raises(CapsuleError, match=r"run1\.s1"):
        await read_capsule(journal, "run1", folder=tmp_path)
    assert len(await list_capsules(journal, folder=tmp_path / "gone")) == len(ALL)


async def test_a_broken_file_is_named(journal, tmp_path):
    (tmp_path / "run1.s1.capsule.json").write_text("{}")

    with pytest.raises(CapsuleError, match=r"run1\.s1\.capsule\.json.*tandem_capsule"):
        await list_capsules(journal, folder=tmp_path)
