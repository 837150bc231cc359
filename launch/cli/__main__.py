"""``python -m trident.launch.cli``: the command line where the console script is not on PATH."""

from __future__ import annotations

import sys

from . import main

sys.exit(main())
