from __future__ import annotations

import sys
from pathlib import Path

# `--import-mode=importlib` puts no test directory on the path, and these tests share `small`.
sys.path.insert(0, str(Path(__file__).parent))
