"""Compile a private copy of the C layer and run what can catch a mutant of it.

Every source is compiled once a kind (plain, with sanitizers, with the thread sanitizer) into an
archive; a mutant costs one object and a link. The tree itself is never touched.
"""

import os
import platform
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLAGS = {
    "plain": ["-O2"],
    "sanitized": ["-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "threads": ["-O1", "-g1", "-fsanitize=thread"],
}
LEFT_OUT = (
    "_test.c", "test_program.c", "test_plugin.c", "main.c", "topology/dump.c",
    "foreign/call.c", "foreign/convert.c", "foreign/size.c", "foreign/signature.c",
    "cpuid_none.c" if platform.machine() == "x86_64" else "cpuid_x86.c",
)  # fmt: skip
PROGRAMS = ("src/bridge/main.c", "src/host/host.c", "src/supervise/supervise.c")
RUN_S_MAX = 100


@dataclass(frozen=True, slots=True)
class Catcher:
    """A test program that may notice a mutant by failing, crashing or hanging."""

    name: str
    kind: str
    main: str
    """Below ``native``."""
    arguments: tuple[str, ...] = ()
    """``{native}``, ``{bridge}`` and ``{agent}`` are replaced."""
    more: tuple[str, ...] = ()
    """Other sources it needs, below ``native``."""
    includes: tuple[str, ...] = ()
    """Sources that it compiles in, below ``native/src``; all others are linked."""
    alone: bool = False
    """It races on two processors: one at a time."""


def corpus(target: str, includes: tuple[str, ...] = ()) -> Catcher:
    """Return the fuzz target over its corpus, under the sanitizers."""
    return Catcher(
        f"{target}_corpus", "sanitized", f"fuzz/{target}_fuzz.c",
        (f"{{native}}/fuzz/corpus/{target}",), ("fuzz/standalone.c",), includes,
    )  # fmt: skip


BRIDGE = ("{bridge}",)
CATCHERS = {
    catcher.name: catcher
    for catcher in (
        Catcher("ring", "sanitized", "src/ring/ring_test.c"),
        Catcher("bell", "plain", "src/ring/bell_test.c"),
        Catcher("torture", "plain", "src/ring/torture_test.c", ("200000",)),
        Catcher("torture_threads", "threads", "src/ring/torture_test.c", ("40000",)),
        Catcher("litmus", "plain", "litmus/doorbell_litmus.c", ("1.5",),
                includes=("ring/ring.c", "ring/bell.c"), alone=True),
        Catcher("frame", "sanitized", "src/wire/frame_test.c"),
        Catcher("extension", "sanitized", "src/wire/extension_test.c"),
        Catcher("handshake", "sanitized", "src/wire/handshake_test.c"),
        Catcher("strict", "sanitized", "src/strict/strict_test.c"),
        Catcher("golden", "plain", "fuzz/golden_test.c",
                ("{native}/../protocol/golden/bodies.tsv", "{native}/../protocol/golden/frames.tsv")),
        corpus("strict"), corpus("frame"), corpus("handshake",
                                                  ("bridge/admission.c", "client/connect.c")),
        Catcher("hostile", "sanitized", "src/client/hostile_test.c"),
        Catcher("dispatch", "sanitized", "src/bridge/dispatch_test.c"),
        Catcher("client", "plain", "src/client/client_test.c", BRIDGE),
        Catcher("bridge", "plain", "src/bridge/bridge_test.c", BRIDGE),
        Catcher("agents", "plain", "src/bridge/agents_test.c", ("{bridge}", "{agent}")),
    )
}  # fmt: skip
PARITY = "parity"
"""The differential tests against the Python reference; run by pytest with this mutant's tools."""
FOR_FILE = {
    "ring/ring.c": ("ring", "torture_threads", "torture", "litmus", "client"),
    "ring/bell.c": ("bell", "torture_threads", "torture", "litmus", "client"),
    "wire/frame.c": ("frame", "ring", "frame_corpus", "golden", PARITY),
    "wire/extension.c": ("extension", "frame_corpus", "golden", PARITY, "client", "agents"),
    "wire/handshake.c": ("handshake", "handshake_corpus", "bridge"),
    "strict/strict.c": ("strict", "strict_corpus", "golden", PARITY),
    "client/send.c": ("hostile", "client"),
    "client/drain.c": ("hostile", "client"),
    "bridge/dispatch.c": ("dispatch", "bridge", "client", "agents"),
}
OTHERS = ("client", "agents")


class Tree:
    """A private copy, compiled as far as is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.native = folder / "native"
        shutil.copytree(
            ROOT / "native", self.native, ignore=shutil.ignore_patterns("ext", "bench", "models")
        )
        shutil.copytree(ROOT / "protocol", folder / "protocol")
        self._archives: dict[str, Path] = {}
        self._lock = threading.Lock()
        self.one_at_a_time = threading.Lock()
        sources = sorted(str(path) for path in (self.native / "src").rglob("*.[ch]"))
        header = subprocess.run(
            ["sh", "native/src/base/build_id.sh", "mutant", *sources],
            cwd=ROOT, capture_output=True, check=True,
        )  # fmt: skip
        (folder / "tdi_build.h").write_bytes(header.stdout)

    def compile(self, kind: str, source: Path, target: Path, *includes: Path) -> None:
        """Compile one source; ``source`` may lie elsewhere than the files it includes."""
        at = [f"-I{path}" for path in (*includes, self.native / "include", self.native / "src")]
        done = subprocess.run(
            ["cc", "-std=c11", "-D_GNU_SOURCE", "-w", *FLAGS[kind], *at, f"-I{self.folder}",
             "-c", source, "-o", target],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise ValueError(f"{source}: does not compile:\n{done.stderr[-800:]}")

    def archive(self, kind: str) -> Path:
        """Return the archive of everything but tests and programs, made once."""
        with self._lock:
            if kind not in self._archives:
                objects = self.folder / f"objects-{kind}"
                objects.mkdir()
                sources = [
                    path
                    for path in [*(self.native / "src").rglob("*.c"),
                                 self.native / "agents" / "system.c",
                                 self.native / "agents" / "docgen_absent.c"]
                    if not str(path).endswith(LEFT_OUT)
                    and str(path.relative_to(self.native)) not in PROGRAMS
                ]  # fmt: skip
                targets = [
                    objects / str(path.relative_to(self.native)).replace("/", "-")
                    for path in sources
                ]
                targets = [target.with_suffix(".o") for target in targets]
                with ThreadPoolExecutor(2) as pool:
                    list(pool.map(self.compile, [kind] * len(sources), sources, targets))
                made = self.folder / f"lib{kind}.a"
                subprocess.run(["ar", "rcs", made, *targets], check=True)
                self._archives[kind] = made
            return self._archives[kind]


@dataclass
class Build:
    """The programs of one mutant (or of the code as written, without one)."""

    tree: Tree
    folder: Path
    file: str = ""
    """The mutated file below ``native/src``."""
    source: str = ""
    """Its mutated text."""
    _made: dict[tuple[str, str], Path] = field(default_factory=dict)

    def _own_objects(self, kind: str, includes: tuple[str, ...]) -> list[Path]:
        if not self.file or self.file in includes:
            return []
        target = self.folder / f"{kind}-mutant.o"
        if not target.exists():
            mutated = self.folder / Path(self.file).name
            mutated.write_text(self.source)
            self.tree.compile(kind, mutated, target, (self.tree.native / "src" / self.file).parent)
        return [target]

    def program(
        self, kind: str, name: str, sources: tuple[str, ...], includes: tuple[str, ...] = ()
    ) -> Path:
        """Compile ``sources`` and link them with the mutant before everything else."""
        if (kind, name) in self._made:
            return self._made[kind, name]
        archive = self.tree.archive(kind)
        shared = self.tree.folder / f"objects-{kind}"
        objects = []
        for source in sources:
            fresh = bool(self.file) and self.file in includes
            target = (self.folder if fresh else shared) / f"{name}-{Path(source).stem}.o"
            if not target.exists():
                place = self._with_mutated(source) if fresh else self.tree.native / source
                part = target.with_suffix(f".{threading.get_ident()}")
                self.tree.compile(kind, place, part)
                part.rename(target)
            objects.append(target)
        made = self.folder / f"{kind}-{name}"
        subprocess.run(
            ["cc", *FLAGS[kind], *objects, *self._own_objects(kind, includes), archive,
             "-pthread", "-ldl", "-lm", "-o", made],
            capture_output=True, check=True,
        )  # fmt: skip
        self._made[kind, name] = made
        return made

    def _with_mutated(self, source: str) -> Path:
        """Write a copy of a test beside the mutated file that it includes as ``../src/...``."""
        at = self.folder / "tree" / source
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text((self.tree.native / source).read_text())
        for folder in (self.folder / "tree" / "src").parent, self.folder / "tree":
            folder.mkdir(parents=True, exist_ok=True)
        copy = self.folder / "tree" / "src"
        if not copy.exists():
            shutil.copytree(self.tree.native / "src", copy)
            (copy / self.file).write_text(self.source)
        return at

    def run(self, catcher: Catcher) -> str:
        """Run it; return "" when it passed, else in a word how it noticed."""
        words = {"native": str(self.tree.native)}
        if "{bridge}" in catcher.arguments:
            words["bridge"] = str(self.program("plain", "agent_bridge", PROGRAMS))
            words["agent"] = ""
        if "{agent}" in catcher.arguments:
            source = "src/agentlib/agent_test_program.c"
            words["agent"] = str(self.program("plain", "agent_test_program", (source,)))
        program = self.program(
            catcher.kind, catcher.name, (catcher.main, *catcher.more), catcher.includes
        )
        arguments = [argument.format(**words) for argument in catcher.arguments]
        home = self.folder / f"home-{catcher.name}"
        home.mkdir(exist_ok=True)
        if catcher.alone:
            with self.tree.one_at_a_time:
                return self._run([str(program), *arguments], home)
        return self._run([str(program), *arguments], home)

    def _run(self, command: list[str], home: Path) -> str:
        # The limit on its processor time ends a mutant that loops also when we were killed.
        limited = f'ulimit -t {4 * RUN_S_MAX}; exec "$@"'
        with subprocess.Popen(
            ["sh", "-c", limited, "sh", *command], cwd=home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "TMPDIR": str(home), "ASAN_OPTIONS": "detect_leaks=1"},
        ) as process:  # fmt: skip
            try:
                code = process.wait(RUN_S_MAX)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)  # a session of its own: what it started goes as well
                process.wait()
                return "hangs"
        return "" if code == 0 else "fails" if code > 0 else f"signal {-code}"

    def parity(self) -> str:
        """Hold the decoders against the Python reference with this mutant's ``td_verdicts``."""
        tools = self.folder / "tools"
        tools.mkdir(exist_ok=True)
        made = self.program("sanitized", "td_verdicts", ("fuzz/verdicts.c",))
        shutil.copy(made, tools / "td_verdicts")
        done = subprocess.run(
            ["python3", "-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
             "tests/parity/test_strict_parity.py", "tests/parity/test_frame_parity.py"],
            cwd=ROOT, capture_output=True, check=False,
            env={**os.environ, "TANDEM_NATIVE_TOOLS": str(tools), "CI": "true"},
        )  # fmt: skip
        if done.returncode not in (0, 1):
            raise ValueError(f"parity: pytest says {done.stdout[-400:]!r}")
        return "fails" if done.returncode else ""

    def caught_by(self, name: str) -> str:
        """Run the catcher of this name; "" when it noticed nothing."""
        return self.parity() if name == PARITY else self.run(CATCHERS[name])
