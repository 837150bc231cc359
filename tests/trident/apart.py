"""`trident`, as a member whose ranks see different directories: ``$APART0`` for rank 0, and so on."""

from __future__ import annotations

import os

import trident.run

member = f"{os.environ['APART']}{os.environ['RANK']}"
os.environ.update(TRIDENT_MEMBER_DIR=member, TRIDENT_ATTEMPT_DIR=f"{member}/attempts/1")
trident.run.main()
