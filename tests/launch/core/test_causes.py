"""Why a rank ended, from its code and its log."""

from __future__ import annotations

import pytest

from trident.launch.core.causes import cause_of, detail_of, exception_of, traceback_of
from trident.launch.core.states import Cause

LOG = """\
epoch 1
Traceback (most recent call last):
  File "a.py", line 1, in <module>
    first()
KeyError: 'first'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    second()

ValueError: the second
with more to say
"""


def test_the_last_traceback_counts() -> None:
    assert exception_of(LOG) == "ValueError: the second"
    assert (traceback_of(LOG) or "").splitlines()[-1] == "ValueError: the second"
    assert exception_of("no traceback") is None
    assert exception_of("Traceback (most recent call last):\n  File") is None


def test_torchs_mark_of_the_rank_is_no_part_of_a_traceback() -> None:
    marked = "".join(f"[rank1]: {line}" for line in LOG.splitlines(keepends=True))
    assert exception_of(marked) == "ValueError: the second"


@pytest.mark.parametrize(
    ("code", "log", "oom", "cause", "detail"),
    [
        (1, LOG, False, Cause.EXCEPTION, "ValueError: the second"),
        (
            1,
            "usage\nerror: no such thing\n",
            False,
            Cause.EXCEPTION,
            "exit code 1: error: no such thing",
        ),
        (-9, LOG[:8], False, Cause.LOST, "killed by SIGKILL"),
        (-9, "", True, Cause.OUT_OF_MEMORY, "killed by SIGKILL"),
        (-11, "", False, Cause.LOST, "killed by SIGSEGV"),
        (
            1,
            "Traceback (most recent call last):\n  x\ntorch.OutOfMemoryError: CUDA out of memory. Tried",
            False,
            Cause.OUT_OF_MEMORY,
            "torch.OutOfMemoryError: CUDA out of memory. Tried",
        ),
    ],
)
def test_causes(code: int, log: str, oom: bool, cause: Cause, detail: str) -> None:
    assert cause_of(code, log, out_of_memory=oom) is cause
    assert detail_of(code, log) == detail
