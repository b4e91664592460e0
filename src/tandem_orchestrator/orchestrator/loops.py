"""The event loop where Tandem owns it: on the command line, and behind the blocking interface."""

from __future__ import annotations

import asyncio

from tandem_orchestrator.settings import Settings


def new_event_loop(settings: Settings) -> asyncio.AbstractEventLoop:
    """Make a loop: uvloop's where ``python_layer.use_uvloop`` is true and it is installed."""
    if settings.python_layer.use_uvloop:
        try:
            import uvloop
        except ImportError:
            return asyncio.new_event_loop()  # It is an extra: without it all works, slower.
        return uvloop.new_event_loop()
    return asyncio.new_event_loop()
