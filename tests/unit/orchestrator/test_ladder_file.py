"""The ladder's file: many processes count into it at once, and nothing is lost."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

from tandem_orchestrator.orchestrator.ladder_file import CLIMBS_MAX, Climbs, LadderFile
from tandem_orchestrator.twins.ladder import HISTORY_MAX, INPUTS_MAX, Change, Climb

COUNTER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from tandem_orchestrator.errors import Busy
    from tandem_orchestrator.orchestrator.ladder_file import LadderFile
    from tandem_orchestrator.settings import Twins
    from tandem_orchestrator.twins.ladder import Climb, Tally, add

    file, rules = LadderFile(Path(sys.argv[1])), Twins()

    def change(climbs):
        climb = climbs.setdefault(
            ("a", "do", "v2"), Climb(agent="a", action="do", implementation="v2")
        )
        tally = Tally()
        tally.note(agreed=True, digest=f"{sys.argv[2]}.{done}")
        add(climb, tally, rules, 1.0)

    done = 0
    while done < 25:
        try:
            file.change(change)
        except Busy:
            continue
        done += 1
""")


def test_four_processes_that_count_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j.db.ladder"
    workers = [
        subprocess.Popen([sys.executable, "-c", COUNTER, str(path), str(i)]) for i in range(4)
    ]
    deadline = time.monotonic() + 60
    for worker in workers:
        assert worker.wait(timeout=max(1.0, deadline - time.monotonic())) == 0

    [climb] = LadderFile(path).read().values()

    assert climb.agreements == 100 and len(climb.inputs) == 100


def test_without_a_path_it_lasts_as_long_as_the_object() -> None:
    file = LadderFile(None)

    file.change(lambda climbs: climbs.clear())

    assert file.read() == {}


def test_a_full_ladder_still_fits_its_file(tmp_path: Path) -> None:
    file = LadderFile(tmp_path / "j.db.ladder")
    change = Change(at_s=1.0, left="native", right="shadow", why="w" * 400, capsule="c" * 60)

    def fill(climbs: Climbs) -> None:
        for i in range(CLIMBS_MAX):
            climb = Climb(agent="a" * 30, action=f"do{i}", implementation="v2")
            climb.inputs = [f"{n:010x}" for n in range(INPUTS_MAX)]
            climb.history = [change] * HISTORY_MAX
            climbs[climb.key] = climb

    file.change(fill)

    assert len(file.read()) == CLIMBS_MAX
