"""The public names of the package load when they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_public_names_load_lazily():
    code = (
        "import sys, trident; assert 'torch' not in sys.modules; print(trident.__version__);"
        "from trident import TridentModule, TridentDataModule, TridentDataspec;"
        "from trident.core.module import TridentModule as M; assert M is TridentModule;"
        "from trident.utils.enums import Split; assert Split('val') is Split.VAL"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    import trident

    with pytest.raises(AttributeError, match="nothing"):
        _ = trident.nothing
