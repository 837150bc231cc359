"""`trident`, as a member whose ranks see different directories: ``$APART0`` for rank 0, and so on."""

from __future__ import annotations

import os
from pathlib import Path

from support import claim_for, member_variables

import trident.run

folder = Path(f"{os.environ['APART']}{os.environ['RANK']}")
os.environ.update(member_variables(folder, 1))
claim_for(os.environ, os.getppid())
trident.run.main()
