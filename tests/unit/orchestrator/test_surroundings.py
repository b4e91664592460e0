"""What a session's capsules say of where it ran."""

import hashlib
import platform

from tandem_orchestrator import Settings
from tandem_orchestrator.orchestrator.surroundings import CapsuleMaker, build_of, read_environment


def test_it_names_python_processor_locale_and_time_zone():
    seen = read_environment()

    assert platform.python_version() in seen.python
    assert seen.locale and seen.timezone and seen.package
    assert seen.cpu_flags.split(" ") == sorted(seen.cpu_flags.split(" "))
    assert ";" not in seen.locale


def test_a_build_is_known_by_its_content(tmp_path):
    library = tmp_path / "librate.so"
    library.write_bytes(b"one")

    assert build_of(library) == hashlib.sha256(b"one").hexdigest()[:32]
    assert build_of(tmp_path / "none").startswith("unreadable: ")


def test_a_maker_reads_once_and_keeps_to_the_settings(tmp_path):
    library, asked = tmp_path / "librate.so", []
    library.write_bytes(b"one")
    settings = Settings.load({"limits": {"capsule_bytes_max": 4096}}, environ={}, cwd=tmp_path)

    def builds():
        asked.append(1)
        return {"librate": library}

    maker = CapsuleMaker(settings, lambda: 7, builds)
    assert not asked
    made = [
        maker.make(
            id="r.c1", run="r", step="s", agent="a", action="b", payload="x" * 9000,
            outcomes=[], fields=[],
        )
        for _ in range(2)
    ]  # fmt: skip

    assert asked == [1]
    assert made[0].at_ns == 7
    assert made[0].environment["builds"]["librate"] == build_of(library)
    assert "/payload" in made[0].truncated
