"""Settings: precedence, refusals, guarded keys, and the view that users assign to."""

import ast
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.errors import ConfigError
from tandem_orchestrator.settings import KEYS, Redundancy, Settings, settings_table
from tandem_orchestrator.settings.sections import SECTIONS

SPEC_FILE = """
{
  "orchestrator": {"default_mode": "INTELLIGENT", "default_priority": "MEDIUM",
                   "max_parallel_workflows": 10, "sync_interval_ms": 1},
  "python_layer": {"cache_size": 10000, "async_workers": 8, "use_uvloop": true},
  "c_layer": {"buffer_size": 16777216, "max_agents": 32, "use_huge_pages": true,
              "realtime_scheduling": false},
  "redundancy": {"conflict_resolution": "python_preferred", "consensus_retries": 3,
                 "agreement_threshold": 0.95},
  "metrics": {"enable_prometheus": true, "prometheus_port": 9090, "history_size": 1000}
}
"""
SPEC_VARIABLES = {
    "TANDEM_PYTHON_WORKERS": ("9", "python_layer.async_workers", 9),
    "TANDEM_CACHE_SIZE": ("77", "python_layer.cache_size", 77),
    "TANDEM_ASYNC_IO": ("False", "python_layer.use_uvloop", False),
    "TANDEM_C_BUFFER_SIZE": ("8388608", "c_layer.buffer_size", 8388608),
    "TANDEM_C_MAX_AGENTS": ("4", "c_layer.max_agents", 4),
    "TANDEM_C_USE_HUGE_PAGES": ("0", "c_layer.use_huge_pages", False),
    "TANDEM_CPU_AFFINITY": ("0-3,8", "hardware.cpu_affinity", "0-3,8"),
    "TANDEM_PREFER_P_CORES": ("no", "hardware.prefer_p_cores", False),
    "TANDEM_E_CORE_THRESHOLD": (".5", "hardware.e_core_threshold", 0.5),
    "TANDEM_DEBUG": ("true", "orchestrator.log_level", "DEBUG"),
    "TANDEM_JOURNAL": ("/var/j.db", "journal.path", "/var/j.db"),
    "TANDEM_REDUNDANCY__CONSENSUS_RETRIES": ("7", "redundancy.consensus_retries", 7),
}


@pytest.fixture
def cwd(tmp_path):
    """A working folder that nobody else may write."""
    tmp_path.chmod(0o700)
    return tmp_path


def write(path: Path, document, mode=0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    path.chmod(mode)
    return path


def load(cwd, config=None, environ=(), **more):
    return Settings.load(config, environ={"HOME": str(cwd)} | dict(environ), cwd=cwd, **more)


def faults_of(excinfo):
    return {fault.path: fault for fault in excinfo.value.faults}


def test_specs_file_says_what_the_defaults_are(cwd):
    write(cwd / "tandem_config.json", SPEC_FILE)

    settings = load(cwd)

    assert replace(settings, journal=Settings().journal) == Settings()
    assert settings.origin("c_layer.max_agents") == f"file {cwd}/tandem_config.json"
    assert settings.origin("journal.keep_days") == "default"


@pytest.mark.parametrize("name", SPEC_VARIABLES)
def test_each_variable_sets_its_key(cwd, name):
    text, path, value = SPEC_VARIABLES[name]

    settings = load(cwd, environ={name: text})

    assert settings.get(path) == value
    assert settings.origin(path) == f"environment {name}"


def test_argument_beats_environment_beats_file_beats_default(cwd):
    write(cwd / "t.json", {"redundancy": {"consensus_retries": 1, "agreement_threshold": 0.1}})
    environ = {"TANDEM_REDUNDANCY__CONSENSUS_RETRIES": "2", "TANDEM_CACHE_SIZE": "5"}

    from_file = load(cwd, "t.json")
    from_both = load(cwd, "t.json", environ)
    from_argument = load(cwd, {"redundancy": {"consensus_retries": 3}}, environ)
    from_option = load(cwd, "t.json", environ, overrides={"redundancy.consensus_retries": "4"})

    retries = [
        s.redundancy.consensus_retries for s in (from_file, from_both, from_argument, from_option)
    ]
    assert retries == [1, 2, 3, 4]
    assert from_both.redundancy.agreement_threshold == 0.1
    assert from_argument.redundancy.agreement_threshold == 0.95
    assert from_argument.python_layer.cache_size == 5
    assert from_option.origin("redundancy.consensus_retries") == "option"


def test_settings_given_as_argument_are_used_as_they_are(cwd):
    write(cwd / "tandem_config.json", {"redundancy": {"agreement_threshold": 0.1}})
    given = Settings(redundancy=Redundancy(consensus_retries=9))

    settings = load(cwd, given, {"TANDEM_CACHE_SIZE": "5"})

    assert replace(settings, journal=given.journal) == given


def test_the_file_is_looked_for_in_three_places_in_order(cwd):
    def retries(environ=()):
        return load(cwd, None, environ).redundancy.consensus_retries

    xdg = {"XDG_CONFIG_HOME": str(cwd / "xdg")}
    assert retries(xdg) == 3
    write(cwd / "xdg/tandem/tandem_config.json", {"redundancy": {"consensus_retries": 11}})
    assert retries(xdg) == 11
    write(cwd / "tandem_config.json", {"redundancy": {"consensus_retries": 12}})
    assert retries(xdg) == 12
    write(cwd / "named.toml", "[redundancy]\nconsensus_retries = 13\n")
    assert retries(xdg | {"TANDEM_CONFIG": "named.toml"}) == 13
    write(cwd / ".config/tandem/tandem_config.json", {"redundancy": {"consensus_retries": 14}})
    (cwd / "tandem_config.json").unlink()
    assert retries() == 14


def test_a_named_file_that_is_not_there_is_an_error(cwd):
    with pytest.raises(ConfigError, match=r"gone\.json"):
        load(cwd, "gone.json")
    with pytest.raises(ConfigError, match=r"gone\.json"):
        load(cwd, None, {"TANDEM_CONFIG": "gone.json"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "object"),
        ("{", "Expecting"),
        ('{"metrics": {}, "metrics": {}}', "twice"),
        ('{"redundancy": {"agreement_threshold": NaN}}', "NaN"),
        ("[" * 100_000, "recursion"),
        ("\xff", "object|Expecting|decode"),
        (" " * (2**20 + 1), "over 1048576 bytes"),
    ],
)
def test_a_file_that_does_not_parse_is_an_error_that_names_it(cwd, text, says):
    write(cwd / "t.json", text)

    with pytest.raises(ConfigError, match=says) as caught:
        load(cwd, "t.json")
    assert "t.json" in str(caught.value)


def test_a_fifo_in_place_of_a_file_is_refused_at_once(cwd):
    os.mkfifo(cwd / "t.json")

    with pytest.raises(ConfigError, match="not a regular file"):
        load(cwd, "t.json")


def test_everything_that_is_wrong_is_said_at_once_with_the_nearest_names(cwd):
    config = {
        "redundency": {},
        "redundancy": {"consensus_retrys": 1, "conflict_resolution": "retry"},
        "c_layer": {"buffer_size": "16MB", "max_agents": 0, "prometheus_port": 1},
        "metrics": [],
    }
    environ = {"TANDEM_CACHE_SIZE": "many", "TANDEM_C_LAYER__SOKET": "x", "TANDEM_CASHE_SIZE": "1"}

    with pytest.raises(ConfigError) as caught:
        load(cwd, config, environ)

    faults = faults_of(caught)
    assert set(faults) == {
        "redundency", "redundancy.consensus_retrys", "redundancy.conflict_resolution",
        "c_layer.buffer_size", "c_layer.max_agents", "c_layer.prometheus_port", "metrics",
        "TANDEM_CACHE_SIZE", "TANDEM_C_LAYER__SOKET", "TANDEM_CASHE_SIZE",
    }  # fmt: skip
    assert faults["redundency"].nearest[0] == "redundancy"
    assert faults["redundancy.consensus_retrys"].nearest[0] == "consensus_retries"
    assert faults["c_layer.prometheus_port"].nearest == ("metrics.prometheus_port",)
    assert faults["TANDEM_C_LAYER__SOKET"].nearest[0] == "TANDEM_C_LAYER__SOCKET"
    assert "TANDEM_CASHE_SIZE" in str(caught.value)
    message = faults["TANDEM_CACHE_SIZE"].message
    assert "TANDEM_CACHE_SIZE" in message
    assert "many" in message
    assert "integer 0 to 10,000,000" in message


def test_variables_of_other_programs_are_left_alone(cwd):
    load(cwd, None, {"TANDEM_TOKEN": "x", "TANDEM_BICYCLE_BELL": "loud", "PATH": "/bin"})


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"python_layer": {"async_workers": True}}, "python_layer.async_workers"),
        ({"python_layer": {"async_workers": 8.0}}, "python_layer.async_workers"),
        ({"python_layer": {"async_workers": None}}, "python_layer.async_workers"),
        ({"python_layer": {"use_uvloop": 1}}, "python_layer.use_uvloop"),
        ({"redundancy": {"agreement_threshold": float("nan")}}, "redundancy.agreement_threshold"),
        ({"redundancy": {"agreement_threshold": 1.01}}, "redundancy.agreement_threshold"),
        ({"redundancy": {"agreement_threshold": 10**5000}}, "redundancy.agreement_threshold"),
        ({"python_layer": {"async_workers": 10**5000}}, "python_layer.async_workers"),
        ({"orchestrator": {"default_mode": "not a mode"}}, "orchestrator.default_mode"),
        ({"orchestrator": {"default_priority": "urgent"}}, "orchestrator.default_priority"),
        ({"hardware": {"cpu_affinity": "0-"}}, "hardware.cpu_affinity"),
        ({"journal": {"path": ""}}, "journal.path"),
        ({"c_layer": {"restart_delay_s": 9, "restart_delay_max_s": 1}}, "c_layer"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused(cwd, config, path):
    with pytest.raises(ConfigError) as caught:
        load(cwd, config)
    assert set(faults_of(caught)) == {path}


def test_words_are_read_in_any_case_and_kept_in_one(cwd):
    settings = load(
        cwd,
        {
            "orchestrator": {"default_priority": "high"},
            "redundancy": {"conflict_resolution": "VOTE"},
        },
    )

    assert settings.orchestrator.default_priority == "HIGH"
    assert settings.redundancy.conflict_resolution == "vote"


GUARDED = {
    "c_layer": {"socket": "/tmp/s"},
    "journal": {"path": "/tmp/j"},
    "metrics": {"prometheus_host": "0.0.0.0"},
    "orchestrator": {"entry_points": True},
}


@pytest.mark.parametrize("section", GUARDED)
@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o620, 0o700), (0o602, 0o700), (0o600, 0o720), (0o600, 0o702)])  # fmt: skip
def test_a_file_that_others_may_write_cannot_decide_about_trust(
    cwd, section, file_mode, folder_mode
):
    (cwd / "d").mkdir()
    path = write(cwd / "d/t.json", {section: GUARDED[section]}, 0o600)
    load(cwd, path)
    path.chmod(file_mode)
    (cwd / "d").chmod(folder_mode)

    with pytest.raises(ConfigError, match="may write") as caught:
        load(cwd, path)
    assert set(faults_of(caught)) == {f"{section}.{next(iter(GUARDED[section]))}"}


def test_a_file_that_others_may_write_can_still_tune(cwd):
    path = write(cwd / "t.json", {"redundancy": {"consensus_retries": 4}}, 0o666)

    assert load(cwd, path).redundancy.consensus_retries == 4


def test_a_sticky_folder_does_not_let_others_replace_a_file(cwd):
    (cwd / "d").mkdir()
    path = write(cwd / "d/t.json", {"journal": {"path": "/tmp/j"}}, 0o600)
    (cwd / "d").chmod(0o1777)

    assert load(cwd, path).journal.path == "/tmp/j"


@pytest.mark.parametrize("name", ["TANDEM_METRICS__PROMETHEUS_HOST", "TANDEM_ORCHESTRATOR__ENTRY_POINTS"])  # fmt: skip
def test_the_environment_cannot_bind_or_load(cwd, name):
    with pytest.raises(ConfigError, match="cannot be set from the environment"):
        load(cwd, None, {name: "0"})


def test_the_journal_lies_in_the_state_folder_unless_said_otherwise(cwd):
    assert load(cwd).journal.path == str(cwd / ".local/state/tandem/journal.db")
    assert load(cwd, Settings()).journal.path == str(cwd / ".local/state/tandem/journal.db")
    assert load(cwd, None, {"XDG_STATE_HOME": "/s"}).journal.path == "/s/tandem/journal.db"
    assert load(cwd, None, {"TANDEM_JOURNAL": ":memory:"}).journal.path == ":memory:"
    assert load(cwd, {"journal": {"path": "~/j.db"}}).journal.path == str(cwd / "j.db")
    write(cwd / "conf/t.json", {"journal": {"path": "../j.db"}})
    assert load(cwd, "conf/t.json").journal.path == str(cwd / "j.db")


def test_specs_assignment_is_checked_and_counted():
    config = Settings().as_config()

    config["redundancy"]["conflict_resolution"] = "retry_both"
    config["c_layer"]["buffer_size"] = 8388608

    assert config.version == 2
    assert config.settings.redundancy.conflict_resolution == "retry_both"
    assert config["c_layer"]["buffer_size"] == 8388608
    config["c_layer"]["buffer_size"] = 8388608
    assert config.version == 2


def test_a_refused_assignment_changes_nothing():
    config = Settings().as_config()
    before = config.settings

    for assign in (
        lambda: config["redundancy"].__setitem__("conflict_resolution", "coin"),
        lambda: config["redundancy"].__setitem__("conflict_resolutoin", "fail"),
        lambda: config["redundancy"].update(consensus_retries=-1),
        lambda: config.__setitem__(
            "redundancy", {"consensus_retries": 5, "agreement_threshold": 2}
        ),
        lambda: config.__setitem__("redundancy", 5),
        lambda: config.__setitem__("redundency", {}),
        lambda: config["redundancy"].pop("consensus_retries"),
        lambda: config["redundency"],
        lambda: config["redundancy"]["consensus_retrys"],
    ):
        with pytest.raises(ConfigError):
            assign()
    assert (config.settings, config.version) == (before, 0)


def test_the_view_behaves_as_a_dict_of_dicts():
    config = Settings().as_config()

    assert {name: dict(section) for name, section in config.items()} == Settings().as_dict()
    assert config.get("nothing") is None
    assert config["metrics"].get("nothing", 5) == 5
    assert "metrics" in config
    assert "nothing" not in config["metrics"]
    config["redundancy"] = {"consensus_retries": 5}
    assert dict(config["redundancy"]) == {
        "conflict_resolution": "python_preferred",
        "vote": "majority",
        "vote_weights": (),
        "consensus_retries": 5,
        "agreement_threshold": 0.95,
    }


def test_a_key_that_counts_from_the_next_session_says_so_only_while_one_is_open(caplog):
    config = Settings().as_config()

    config["c_layer"]["max_agents"] = 16
    assert caplog.records == []
    config.session_open = True
    config["redundancy"]["consensus_retries"] = 4
    assert caplog.records == []
    config["c_layer"]["max_agents"] = 8
    assert "c_layer.max_agents" in caplog.text
    assert "next session" in caplog.text


def texts(spec):
    if spec.choices:
        return st.sampled_from(spec.choices)
    if spec.kind == "bool":
        return st.booleans()
    if spec.kind == "str":
        return st.sampled_from(["auto", "abc"]) if spec.name == "cpu_affinity" else st.just("abc")
    numbers = st.integers if spec.kind == "int" else st.floats
    return numbers(spec.low, spec.high)


@given(st.data())
def test_every_key_takes_its_range_by_text_and_by_value_alike(data):
    spec = data.draw(st.sampled_from([spec for spec in KEYS.values() if spec.kind != "list"]))
    value = data.draw(texts(spec).filter(lambda v: spec.name != "cpu_affinity" or v == "auto"))

    assert spec.read(str(value)) == spec.accept(value) == value
    if spec.kind in ("int", "float"):
        for outside in (spec.low - 1, spec.high + 1):
            with pytest.raises(ValueError, match="expected"):
                spec.accept(outside)


@pytest.mark.parametrize("given", [["/a.so", "/b.so"], ("/a.so", "/b.so"), "/a.so:/b.so"])
def test_plugins_are_a_list_in_a_dict_a_file_and_an_assignment(tmp_path, given):
    file = tmp_path / "tandem.json"
    file.write_text(json.dumps({"c_layer": {"plugins": given}}))
    file.chmod(0o600)
    assigned = Settings().as_config()
    assigned["c_layer"]["plugins"] = given

    for config in ({"c_layer": {"plugins": given}}, file, assigned.settings):
        settings = Settings.load(config, environ={}, cwd=tmp_path)
        assert settings.c_layer.plugins == ("/a.so", "/b.so")


def test_plugins_in_the_environment_are_separated_by_colons(tmp_path):
    environ = {"TANDEM_C_LAYER__PLUGINS": "/a.so:/b.so"}

    settings = Settings.load({}, environ=environ, cwd=tmp_path)

    assert settings.c_layer.plugins == ("/a.so", "/b.so")


@pytest.mark.parametrize("given", [7, {"a": 1}, ["/a.so", 7], [""], ["/a\0.so"], ["/a.so"] * 65])
def test_plugins_that_are_no_list_of_paths_are_told_what_is_expected(tmp_path, given):
    with pytest.raises(ConfigError, match=r"c_layer\.plugins: .*expected a (list of|path without)"):
        Settings.load({"c_layer": {"plugins": given}}, environ={}, cwd=tmp_path)


def test_every_default_is_a_value_of_its_own_key():
    for spec in KEYS.values():
        assert spec.accept(spec.default) == spec.default, spec.path
        assert (
            spec.optional or spec.kind not in ("int", "float") or None not in (spec.low, spec.high)
        )


def test_the_page_has_the_table_that_the_code_makes():
    page = Path(__file__).parents[2] / "docs" / "settings.md"

    assert settings_table() in page.read_text(encoding="utf-8")


# --- nothing pretends ----------------------------------------------------------------------------

SRC = Path(__file__).parents[2] / "src" / "tandem_orchestrator"


def read_in(source: str) -> Iterator[str]:
    """Yield ``section.key`` for every setting that a source file reads.

    Read means ``….section.key``, or ``name.key`` where the file has said ``name = ….section``, or
    where a function takes a ``name: Section``.
    """
    tree = ast.parse(source)
    aliases = {
        target.id: node.value.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    sections = {owner.__name__: owner.title for owner in SECTIONS.values()}
    for node in ast.walk(tree):
        kind = node.annotation if isinstance(node, ast.arg) else None
        if isinstance(kind, ast.Name) and kind.id in sections:
            aliases[node.arg] = sections[kind.id]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            if isinstance(owner, ast.Attribute):
                yield f"{owner.attr}.{node.attr}"
            elif isinstance(owner, ast.Name) and owner.id in aliases:
                yield f"{aliases[owner.id]}.{node.attr}"


def unread_keys() -> set[str]:
    found = set()
    for path in SRC.rglob("*.py"):
        if "settings" not in path.relative_to(SRC).parts:
            found.update(read_in(path.read_text(encoding="utf-8")))
    return set(KEYS) - found


def test_each_key_is_read_by_a_room_or_says_what_it_waits_for():
    assert unread_keys() == {path for path, spec in KEYS.items() if spec.pending}


def test_the_search_for_readers_sees_direct_ones_and_aliases_and_nothing_else():
    source = """
section = settings.c_layer
use(section.socket, settings.journal.path, journal.keep_days)
"the text journal.keep_bytes is no reader"
"""
    assert set(read_in(source)) & set(KEYS) == {"c_layer.socket", "journal.path"}


COUNT_FROM_THE_NEXT_RUN = {
    "orchestrator.default_mode", "orchestrator.default_priority", "limits.steps_max",
    "redundancy.conflict_resolution", "redundancy.consensus_retries",
    "redundancy.agreement_threshold", "orchestrator.plugin_timeout_s",
    "python_layer.cache_size", "python_layer.cache_bytes",
    "redundancy.vote", "redundancy.vote_weights",
    "journal.keep_days", "journal.keep_bytes",
}  # fmt: skip
"""Those that a run reads for itself; all others go into parts that ``initialize`` makes."""


def test_only_what_each_run_reads_claims_to_count_from_the_next_run():
    claimed = {path for path, spec in KEYS.items() if spec.counts == "run" and not spec.pending}
    assert claimed == COUNT_FROM_THE_NEXT_RUN


def test_a_setting_without_effect_is_named_with_its_value_its_origin_and_what_is_missing(cwd):
    settings = load(
        cwd, {"metrics": {"prometheus_port": 7000}}, {"TANDEM_METRICS__HISTORY_SIZE": "5"}
    )

    assert settings.without_effect() == [
        "metrics.prometheus_port=7000 (argument) has no effect yet: it waits for `tandem serve`, "
        "which this version does not have",
        "metrics.history_size=5 (environment TANDEM_METRICS__HISTORY_SIZE) has no effect yet: it "
        "waits for the history of metrics, which this version does not have",
    ]
    assert load(cwd, json.loads(SPEC_FILE)).without_effect() == []


def test_the_page_says_of_each_pending_key_that_it_has_no_effect_yet():
    rows = {line.split("`")[1]: line for line in settings_table().splitlines()[2:]}

    assert {path for path, row in rows.items() if "**No effect yet**" in row} == {
        path for path, spec in KEYS.items() if spec.pending
    }
