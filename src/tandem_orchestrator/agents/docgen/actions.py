"""The agent `docgen`: document a code base, from its files to a linked set of pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tandem_orchestrator import Agent

agent = Agent("docgen")
"""Found by the entry point ``tandem.agents``."""


class Cancelled(RuntimeError):
    """The action was asked to stop, and did."""


# Any, throughout: payload, context and output are the runner's to type; they are checked inside.
@agent.action("scan_codebase", effects="none")
def scan_codebase(payload: Any, ctx: Any) -> dict[str, Any]:
    """List the files of a tree with sizes, lines and digests (``docs/scan.md``)."""
    from tandem_orchestrator.agents.docgen import scan

    return scan.scan_codebase(payload, ctx)


@agent.action("analyze_structure", effects="none", cpu="process")
def analyze_structure(payload: Any, ctx: Any) -> dict[str, Any]:
    """Find modules, names, docstrings, imports, cycles and gaps in a scanned tree.

    Args:
        payload: ``use_ai``, ``depth``, and ``scan`` or ``path`` where no input is a scan;
            see ``analyze_request.py``.
        ctx: Its ``inputs`` hold the scan.

    Returns: See `analyze.analyze`.
    """
    from tandem_orchestrator.agents.docgen.analyze import analyze
    from tandem_orchestrator.agents.docgen.analyze_request import read_analyze_request

    return analyze(read_analyze_request(payload, ctx.inputs), _poll(ctx))


@agent.action("generate_docs", effects="idempotent", cpu="process")
def generate_docs(payload: Any, ctx: Any) -> dict[str, Any]:
    """Write a linked set of Markdown pages about an analysed tree.

    Args:
        payload: ``format``, ``output``, ``include_examples``, ``overwrite``, and ``analysis``
            where no input is one; see ``generate_request.py``.
        ctx: Its ``inputs`` hold the analysis.

    Returns: See `generate.generate`.
    """
    from tandem_orchestrator.agents.docgen.generate import generate
    from tandem_orchestrator.agents.docgen.generate_request import read_generate_request

    return generate(read_generate_request(payload, ctx.inputs, str(Path.cwd())), _poll(ctx))


def _poll(ctx: Any) -> Any:
    def poll(done: int, total: int) -> None:
        if ctx.cancelled():
            raise Cancelled(f"stopped after {done} of {total}")
        ctx.progress(done, total)

    return poll
