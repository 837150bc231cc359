"""Why a rank ended: from what it recorded, its exit code and its log."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from trident.launch.core.causes import (
    Failure,
    cause_of,
    detail_of,
    exception_of,
    explain,
    last_words,
    traceback_of,
    words_of,
)
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


OF_LOG = "ValueError: the second (a.py:3), while handling KeyError: 'first'"


@pytest.mark.parametrize(
    ("code", "log", "oom", "cause", "detail"),
    [
        (1, LOG, False, Cause.EXCEPTION, OF_LOG),
        (
            1,
            "usage\nerror: no such thing\n",
            False,
            Cause.EXCEPTION,
            "exit code 1: error: no such thing",
        ),
        (-9, LOG, False, Cause.LOST, "killed by SIGKILL"),
        (-9, LOG, True, Cause.OUT_OF_MEMORY, "killed by SIGKILL"),
        (-11, LOG, False, Cause.LOST, "killed by SIGSEGV"),
        (-6, LOG, False, Cause.EXCEPTION, OF_LOG),
        (
            -6,
            "  what():  [Rank 1] Watchdog\n",
            False,
            Cause.LOST,
            "killed by SIGABRT: [Rank 1] Watchdog",
        ),
        (
            1,
            "Traceback (most recent call last):\n  x\ntorch.OutOfMemoryError: CUDA out of memory. Tried",
            False,
            Cause.OUT_OF_MEMORY,
            "torch.OutOfMemoryError: CUDA out of memory. Tried",
        ),
    ],
)
def test_a_program_that_recorded_nothing(
    code: int, log: str, oom: bool, cause: Cause, detail: str
) -> None:
    assert cause_of(code, log, out_of_memory=oom) is cause
    assert detail_of(code, log) == detail


def raised(kind: str, message: str = "", *frames: tuple[str, int], **more: Any) -> dict[str, Any]:
    fields = {"bases": ["Exception"], "link": None, "more": 0}
    return {**fields, "type": kind, "message": message, "frames": list(frames), **more}


def record(*chain: dict[str, Any], at: float = 10.0, **more: Any) -> dict[str, Any]:
    """A record; each exception leads to the next one as its cause, if it does not say another link."""
    links = [{**item, "link": item["link"] or "cause"} for item in chain[:-1]]
    return {"raised": at, "chain": [*links, *chain[-1:]], **more}


def explained(
    *records: dict[str, Any], code: int = 1, log: str = LOG, oom: bool = False, **others: Any
) -> Failure:
    """Of the records, the first is that of the process that the worker started."""
    return explain(
        code,
        log,
        dict(enumerate(records, start=1)),
        process=1,
        ended=20.0,
        roots=["/s/code/ab", "/p"],
        library=["/p/trident"],
        out_of_memory=oom,
    )


HYDRA = raised(
    "hydra.errors.InstantiationException",
    "Error in call to target 'src.a.A':\nValueError('bad')\nfull_key: module.head",
    ("/p/.venv/lib/python3.11/site-packages/hydra/x.py", 9),
)
A = ("/s/code/ab/src/a.py", 3)
LIBRARY = ("/p/.venv/lib/python3.11/site-packages/torch/nn.py", 8)

SENTENCES = {
    "ValueError: bad (src/a.py:3)": record(raised("ValueError", "bad", A, LIBRARY)),
    "ValueError: two lines (src/a.py:3)": record(raised("ValueError", "\ntwo\nlines\n\nmore", A)),
    "ValueError: red (src/a.py:3)": record(raised("ValueError", "\x1b[31mred\x1b[0m", A)),
    "ValueError: wrapped (src/a.py:3)": record(HYDRA, raised("ValueError", "wrapped", A)),
    "TypeError: missing 'x' (config key module.head)": record(
        HYDRA, raised("TypeError", "missing 'x'", LIBRARY)
    ),
    "KeyError: 'x' (src/a.py:3), reported as ValueError: no label": record(
        raised("ValueError", "no label", ("/p/b.py", 1)), raised("KeyError", "'x'", A)
    ),
    "KeyError: 'y' (src/a.py:3), reported as ValueError: no label": record(
        raised("ValueError", "no label", link="translated"), raised("KeyError", "'y'", A)
    ),
    "ValueError: fallback (src/a.py:3), while handling ImportError: no fast path": record(
        raised("ValueError", "fallback", A, link="context"), raised("ImportError", "no fast path")
    ),
    "ValueError: first (src/a.py:3), and 2 more in its group": record(
        raised("ExceptionGroup", "g (3 sub-exceptions)", link="member", more=2),
        raised("ValueError", "first", A),
    ),
    "gaierror: no name (b.py:7), reported as OSError: offline": record(
        raised("OSError", "offline", ("/p/b.py", 7)), raised("gaierror", "no name", LIBRARY)
    ),
    "ValueError: elsewhere (/q/tool.py:5)": record(
        raised("ValueError", "elsewhere", ("/q/tool.py", 5))
    ),
    "ValueError: ours": record(raised("ValueError", "ours", ("/p/trident/engine.py", 5))),
    "exit code 1: with more to say": record(),
    "exit code 1: no data": record(exit=1, message="no data\n"),
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_sentence_about_an_exception(sentence: str) -> None:
    failure = explained(SENTENCES[sentence])
    assert (failure.detail, failure.cause) == (sentence, Cause.EXCEPTION)


def test_a_peers_error_in_a_handler_leads_to_what_was_handled() -> None:
    gone = raised("RuntimeError", "Connection closed by peer [::1]:5", link="context")
    failure = explained(record(gone, raised("ValueError", "bad", A)))
    assert failure.detail.startswith("ValueError: bad (src/a.py:3), reported as RuntimeError: Conn")


@pytest.mark.parametrize(
    "chain",
    [
        [HYDRA, raised("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB", A)],
        [raised("MemoryError")],
        [raised("numpy._core._exceptions._ArrayMemoryError", "Unable to allocate 7 TiB")],
        [raised("my.Full", "none left", bases=["MemoryError", "Exception"])],
        [raised("RuntimeError", "CUDA error: out of memory")],
        [raised("jaxlib.XlaRuntimeError", "RESOURCE_EXHAUSTED: x", bases=["RuntimeError"])],
        [raised("OSError", "[Errno 12] Cannot allocate memory")],
        [raised("ValueError", "no fit", A), raised("MemoryError")],
        [raised("RuntimeError", "in cleanup", A, link="context"), raised("MemoryError")],
    ],
)
def test_memory_that_was_lacking_somewhere_in_the_chain(chain: list[dict[str, Any]]) -> None:
    assert explained(record(*chain)).cause is Cause.OUT_OF_MEMORY


def test_memory_that_was_not_lacking() -> None:
    assert explained(record(raised("ValueError", "never out of memory"))).cause is Cause.EXCEPTION
    killed = raised("RuntimeError", "DataLoader worker (pid 7) is killed by signal: Killed.")
    assert explained(record(killed)).cause is Cause.EXCEPTION
    assert explained(record(killed), oom=True).cause is Cause.OUT_OF_MEMORY
    assert explained(code=-9, oom=True).cause is Cause.OUT_OF_MEMORY


def test_a_recorded_exception_counts_however_the_process_ended() -> None:
    bad = record(raised("ValueError", "bad", A))
    for code in (1, -signal.SIGABRT, -signal.SIGKILL):
        failure = explained(bad, code=code)
        assert (failure.cause, failure.detail) == (Cause.EXCEPTION, "ValueError: bad (src/a.py:3)")
        assert failure.raised == 10.0


def test_an_exit_that_was_prevented_explains_nothing() -> None:
    noted = record(raised("ValueError", "bad", A), exit=1, message=None)
    assert explained(noted, log="").detail == "ValueError: bad (src/a.py:3)"
    assert explained(noted, code=3, log="").detail == "exit code 3"
    assert explained({**noted, "exit": -1}, code=255, log="").detail.startswith("ValueError")


def test_a_process_that_ran_another_one() -> None:
    child = record(raised("ValueError", "in the child", A), at=19.0)
    failed = record(raised("subprocess.CalledProcessError", "Command died"), at=19.1)
    sentence = "ValueError: in the child (src/a.py:3)"
    assert explained(failed, child).detail == sentence
    assert explained(record(), child).detail == sentence  # sys.exit(child.returncode)
    assert explained(failed).detail == "subprocess.CalledProcessError: Command died"
    own = record(raised("KeyError", "'own'"), at=19.1)
    assert explained(own, child).detail == "KeyError: 'own'"
    long_ago = {**child, "raised": -99.0}
    assert explained(record(), long_ago, log="").detail == "exit code 1"
    # Of the programs that a shell has run, the last one counts.
    later = record(at=19.5)
    assert explain(3, "", {7: child, 8: later}, process=1, ended=20.0).detail == "exit code 3"
    peer = record(raised("RuntimeError", "Connection reset by peer"), at=19.5)
    assert explained(failed, child, peer).detail == sentence


@pytest.mark.parametrize(
    "error",
    [
        raised(
            "RuntimeError", "[gloo/transport/tcp/pair.cc:534] Connection closed by peer [::1]:4"
        ),
        raised("torch.distributed.DistBackendError", "NCCL error: ncclRemoteError: a call failed"),
        raised("torch.distributed.DistNetworkError", "failed to recv, got 0 bytes"),
        raised("trident.distributed.collectives.OtherRankError", "rank 1: ValueError: x"),
        raised("trident.errors.ConfigError", "rank 1: no such file"),
        raised("BrokenPipeError", "[Errno 32] Broken pipe"),
    ],
)
def test_the_errors_of_ranks_whose_peer_is_gone(error: dict[str, Any]) -> None:
    assert explained(record(error)).of_a_peer
    assert explained(record(error)).record()["of_a_peer"] is True
    assert "of_a_peer" not in explained(record(raised("ValueError", "bad"))).record()


def test_last_words() -> None:
    assert last_words("a\nerror: b\nhint: c\n") == "error: b"
    assert (
        last_words("x: line 3: nope: command not found\n\n") == "x: line 3: nope: command not found"
    )
    assert last_words("") == ""
    said = (
        "2026-01-02 03:04:05 member 1: cannot start: full\n2026-01-02 03:04:06 member 10: ended\n"
    )
    assert last_words(said, about=1) == "cannot start: full"
    assert last_words(said, about=2) == ""
    assert words_of(LOG) == "ValueError: the second"


def test_what_slurm_writes_when_it_ends_a_step_says_nothing() -> None:
    ended = "slurmstepd-n1: error: *** STEP 83.0 ON n1 CANCELLED AT 2026-11-29T19:18:24 ***"
    assert last_words(ended) == ""
    assert last_words(f"error: no such file\n{ended}\n") == "error: no such file"
    by_limit = (
        "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-11-29T19:18:24 DUE TO TIME LIMIT ***"
    )
    assert last_words(by_limit) == by_limit
