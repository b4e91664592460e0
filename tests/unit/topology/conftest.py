"""The machines of ``tests/fixtures/topology``, as a module."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def machines() -> ModuleType:
    name = "tandem_topology_machines"
    if name not in sys.modules:
        path = Path(__file__).parents[2] / "fixtures" / "topology" / "machines.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]
