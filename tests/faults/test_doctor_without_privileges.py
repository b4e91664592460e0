"""A user without any privilege: everything works, and the doctor lists what was refused."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

NOBODY = 65534
WAIT_S = 60.0
ASKED = {
    "c_layer.use_huge_pages": "true",
    "c_layer.realtime_scheduling": "true",
    "c_layer.lock_memory": "true",
}

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else"),
]


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder of the other user's own; pytest's folders are closed to it."""
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, NOBODY, NOBODY)
        yield Path(folder)


AS_NOBODY = f"""
import contextlib, io, os, resource, sys
from tandem_orchestrator.cli.app import run_app

def doctor(name):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = run_app(["doctor", "--json", "--journal", os.path.join(sys.argv[1], name), *sys.argv[2:]])
    return code, out.getvalue()

# Everything is loaded while the interpreter's own files may still be read.
code, out = doctor("before.db")
assert code == 0, out
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
os.setgroups([])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
os.environ["XDG_RUNTIME_DIR"] = sys.argv[1]
code, out = doctor("after.db")
print(out)
raise SystemExit(code)
"""


def test_the_doctor_lists_every_refusal_and_both_layers_work(home: Path) -> None:
    options = [word for key, value in ASKED.items() for word in ("--set", f"{key}={value}")]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", AS_NOBODY, str(home), *options],
        env=environ | {"HOME": str(home)},
        check=False, capture_output=True, timeout=WAIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    findings = json.loads(done.stdout)["findings"]
    refused = {f["what"]: f for f in findings if f["state"] == "refused"}
    wanted = {"locked memory", "real-time scheduling"}
    if os.cpu_count() != 1:
        wanted.add("CPUs")
    if int(Path("/proc/sys/vm/nr_hugepages").read_text()) == 0:
        wanted.add("huge pages")
    assert wanted <= refused.keys()
    assert all(refused[what]["mend"] for what in wanted)
    said = [f["detail"] for f in findings if f["what"] == "c layer" and f["state"] == "refused"]
    assert any(line.startswith("real-time scheduling: asked for, refused: ") for line in said)
    assert any(line.startswith("locked memory: asked for, refused: ") for line in said)
    states = {f["what"]: f["state"] for f in findings if f["state"] != "refused"}
    assert states["a python_only run"] == states["a speed_critical run"] == "ok"
    assert states["c layer"] == states["python layer"] == "ok"
