"""``python -m orchestrator.cli``: as ``samsweep``, where the package lies on a path without being installed."""

import sys

from orchestrator.cli import main

sys.exit(main())
