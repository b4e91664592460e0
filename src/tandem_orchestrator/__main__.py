"""``python -m tandem_orchestrator`` is ``tandem``."""

import sys

from tandem_orchestrator.cli import main

if __name__ == "__main__":
    sys.exit(main())
