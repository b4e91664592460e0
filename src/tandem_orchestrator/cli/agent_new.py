"""``tandem agent new NAME --lang c|python``: the beginnings of an agent that builds and runs."""

from __future__ import annotations

import re
from pathlib import Path

from tandem_orchestrator.cli.exits import Exit, UsageError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

_C_SOURCE = """\
/* The agent `@NAME@`, as a program: it connects to a bridge and offers `@NAME@.greet`. */
#include <stdio.h>

#include <tandem/connect.h>
#include <tandem/message.h>

static td_status greet(td_call *call)
{
    const td_view payload = td_payload(call);
    td_reader name;
    const char *text;
    size_t bytes;
    if (td_map_find(td_reader_of(payload.data, payload.bytes), "name", &name) != TD_OK ||
        td_read_str(&name, &text, &bytes) != TD_OK || bytes > 200)
        return td_fail(call, "ValueError", "name must be a text of at most 200 bytes");
    char line[256];
    const int written = snprintf(line, sizeof line, "Hello, %.*s!", (int)bytes, text);
    return td_write_str(td_output(call), line, (size_t)written);
}

static const td_action actions[] = {
    {"@NAME@", "greet", greet, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
};

int main(void)
{
    const td_agent_options options = {.size = sizeof options,
                                      .actions = actions,
                                      .actions_total = sizeof actions / sizeof *actions,
                                      .reconnect = 1};
    return td_agent_main(&options);
}
"""

_MAKEFILE = """\
# `tandem config` knows where the headers and the library are.
CFLAGS ?= -O2 -g -Wall -Wextra
TANDEM ?= tandem

@NAME@: @NAME@.c
\t$(CC) -std=c11 $(CFLAGS) `$(TANDEM) config --cflags` $< -o $@ `$(TANDEM) config --libs`

clean:
\trm -f @NAME@

.PHONY: clean
"""

_C_README = """\
# @NAME@

An agent in C. Build it, start a bridge, start it:

    make
    `tandem config --bridge` supervise &
    ./@NAME@ &

It connects to `$TANDEM_SOCKET`, or to the bridge in the runtime directory, and connects again
when the bridge was away. With `c_layer.socket` set to the same path, steps can use `@NAME@.greet`.
"""

_PYTHON_SOURCE = '''\
"""The agent `@NAME@`: import this module, or name it with `tandem run --import @NAME@`."""

from tandem_orchestrator import Agent

agent = Agent("@NAME@")


@agent.action("greet", effects="none", deterministic=True)
async def greet(payload):
    """Greet whoever is named: {"name": text}."""
    return f"Hello, {payload['name']}!"
'''

_PYTHON_RUN = """\
name: @NAME@
steps:
  - id: hello
    agent: @NAME@
    action: greet
    payload: {name: Ada}
"""

_PYTHON_README = """\
# @NAME@

An agent in Python. Run its workflow from this folder:

    tandem run hello.yaml --import @NAME@

`@NAME@.py` holds the actions; each says what effects it has, so that a lost attempt is repeated
only where that is safe.
"""

_FILES: dict[str, dict[str, str]] = {
    "c": {"@NAME@.c": _C_SOURCE, "Makefile": _MAKEFILE, "README.md": _C_README},
    "python": {
        "@NAME@.py": _PYTHON_SOURCE,
        "hello.yaml": _PYTHON_RUN,
        "README.md": _PYTHON_README,
    },
}


def agent_new(name: str, lang: str, *, into: Path | None = None) -> Exit:
    """Make the folder ``name`` with a small agent; nothing that exists is touched.

    Args:
        name: Lower-case letters, digits and underscores, at most 64.
        lang: ``c`` or ``python``.
        into: Where the folder is made; the current one by default.

    Raises: UsageError for a name or language that cannot be used, or a folder that exists.
    """
    if _NAME.fullmatch(name) is None:
        raise UsageError(f"name {name!r}: must be a-z, 0-9 and _, beginning with a letter")
    if lang not in _FILES:
        raise UsageError(f"--lang {lang}: must be c or python")
    folder = (into or Path.cwd()) / name
    try:
        folder.mkdir()
    except FileExistsError:
        raise UsageError(f"{folder} exists") from None
    for file_name, text in _FILES[lang].items():
        path = folder / file_name.replace("@NAME@", name)
        path.write_text(text.replace("@NAME@", name), encoding="utf-8")
    print(folder)
    return Exit.DONE
