"""Python imports this module at its start: it installs the recorder of exceptions, and steps aside.

The program sees neither this module nor its directory, and its own `sitecustomize` is imported as it would be.
"""

import os
import sys

try:
    import trident_exceptions  # type: ignore[import-not-found]  # of this directory

    trident_exceptions.install(os.environ)
except Exception:  # an older Python, for example: the worker then reads the log
    pass

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
del sys.modules[__name__]
import sitecustomize  # type: ignore[import-not-found]  # noqa: E402, F401  # the program's own; Python ignores that there is none
