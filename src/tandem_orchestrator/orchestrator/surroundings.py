"""Under what a session runs: builds, processor, locale, time zone. Capsules keep it."""

from __future__ import annotations

import hashlib
import locale
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import msgspec

from tandem_orchestrator.layers.native import find_native_files
from tandem_orchestrator.layers.python import Registry
from tandem_orchestrator.model.catalogue import Action
from tandem_orchestrator.settings import Settings
from tandem_orchestrator.twins import (
    DEFAULT_HOOKS,
    Capsule,
    Environment,
    Named,
    RedactionHook,
    make_capsule,
)

FILE_BYTES_MAX = 256 * 2**20
"""A larger library is known by its size and time alone."""


class CapsuleMaker:
    """Makes a session's capsules: its surroundings, read once, at the first of them.

    Args:
        settings: ``limits.capsule_bytes_max`` caps each capsule, ``limits.capsule_redact`` names
            what is secret besides; ``c_layer.plugins`` are builds.
        wall_ns: Source of the time, nanoseconds since the epoch.
        sources: Gives what the implementations of an (agent, action) are made of.
        hooks: What claims a part of a value as secret.
    """

    def __init__(
        self,
        settings: Settings,
        wall_ns: Callable[[], int] = time.time_ns,
        sources: Callable[[str, str], Sources] = lambda _agent, _action: Sources(),
        hooks: Iterable[RedactionHook] = DEFAULT_HOOKS,
    ) -> None:
        self._bytes_max = settings.limits.capsule_bytes_max
        self._plugins = settings.c_layer.plugins or ()
        self._wall_ns = wall_ns
        self._sources = cache(sources)
        self._hooks: tuple[RedactionHook, ...] = (
            *hooks,
            Named(settings.limits.capsule_redact or ()),
        )

    @cached_property
    def environment(self) -> Environment:
        """What this session runs under."""
        files = {Path(plugin).name: Path(plugin) for plugin in self._plugins}
        if bridge := find_native_files().bridge_path:
            files["agent_bridge"] = Path(bridge)
        return read_environment(files)

    # Any: the keywords of ``make_capsule``.
    def make(self, **given: Any) -> Capsule:
        """Make a capsule: ``make_capsule`` with all that belongs to the session filled in."""
        environment = self.environment
        sources = self._sources(given["agent"], given["action"])
        builds = environment.builds | sources.builds
        if not sources.read_inputs:
            given = given | {"inputs": {}}
        return make_capsule(
            **given,
            environment=msgspec.structs.replace(environment, builds=builds),
            bytes_max=self._bytes_max,
            hooks=self._hooks,
            at_ns=self._wall_ns(),
        )

    # Any: likewise, and a capsule as plain data.
    def make_value(self, **given: Any) -> dict[str, Any]:
        """Make a capsule as events hold it."""
        return self.make(**given).to_value()


@dataclass(frozen=True, slots=True)
class Sources:
    """What the implementations of one action are made of."""

    builds: dict[str, str] = field(default_factory=dict)
    """Name to a function and its code, or a library and its digest."""
    read_inputs: bool = True
    """Whether any of them can see what the steps before gave; else a capsule need not keep it."""


def sources_of(actions: Iterable[Action], registry: Registry) -> Sources:
    """Say what implementations are made of.

    Args:
        actions: Entries of one action, of whatever layer.
    """
    builds: dict[str, str] = {}
    read_inputs = False
    for action in actions:
        for one in action.implementations:
            source = re.sub(r"^/.*/", "", one.source)  # A folder of ours means nothing elsewhere.
            library = registry.library(action.agent, action.name, one.name)
            declared = registry.find(action.agent, action.name, one.name)
            code = getattr(declared[2].handler, "__code__", None) if declared else None
            if code is not None:
                digest = hashlib.sha256(code.co_code + repr(code.co_consts).encode()).hexdigest()
                source = f"{source} code:{digest[:12]}"
            builds[one.name] = source
            takes_payload_only = declared is not None and declared[2].takes < 2
            is_plain = library is not None and library.signature is not None
            read_inputs |= not (takes_payload_only or is_plain)
    return Sources(builds, read_inputs)


def read_environment(builds: dict[str, Path] | None = None) -> Environment:
    """Read what results may depend on; what cannot be read stays empty."""
    name, flags = _processor()
    return Environment(
        builds={part: build_of(path) for part, path in sorted((builds or {}).items())},
        cpu=name,
        cpu_flags=flags,
        locale=_locale(locale.setlocale(locale.LC_ALL)),
        timezone="/".join(dict.fromkeys(time.tzname)) + f" {-time.timezone / 3600:+g} h",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        package=str(sys.modules[__package__.partition(".")[0]].__version__),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
    )


def build_of(path: Path) -> str:
    """Give what tells one build of a file from another: a digest of its content.

    A file that cannot be read says why; that is what a reader of the capsule has to know.
    """
    try:
        about = path.stat()
        if about.st_size > FILE_BYTES_MAX:
            return f"{about.st_size} bytes, {about.st_mtime_ns} ns"
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _locale(text: str) -> str:
    """Give one name, with the categories that have another."""
    parts = [part.partition("=") for part in text.split(";")]
    if len(parts) == 1:
        return text
    names = [name for _, _, name in parts]
    most = max(names, key=names.count)
    return ", ".join([most, *(f"{kind}={name}" for kind, _, name in parts if name != most)])


@cache
def _processor() -> tuple[str, str]:
    """Read the first processor's name and flags from /proc/cpuinfo; empty off Linux."""
    name, flags = platform.machine(), ""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    name = value.strip()
                elif key.strip() in ("flags", "Features"):
                    flags = value
                if not line.strip():
                    break
    except OSError:
        return name, ""  # No such file here; the architecture is all that is known.
    return name, " ".join(sorted(flags.split()))
