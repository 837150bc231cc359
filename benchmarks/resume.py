"""What it costs that a run can be stopped at any step and go on: the stop flag, and a checkpoint each ten minutes.

    python benchmarks/resume.py

The stop flag: time spent in the hooks that ask for it, of the time of training, on examples/digits with two ranks. The
checkpoint: how long training waits for one, and how long it takes to be on disk, on examples/sentiment, of the ten
minutes between two. Exits with 1 above 0.5% or 1%. Two cores that nobody else uses; about two minutes.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trident.protocol.member import MemberContext, claim
from trident.protocol.processes import identity

EXAMPLES = Path(__file__).parents[1] / "examples"
FLAG, CHECKPOINT = 0.005, 0.01
"""The bounds."""


def main() -> int:
    digits = _run("digits", 2, "experiment=digits", "trainer.max_epochs=60")
    share = max(rank["asking"] / rank["fit"] for rank in digits)
    steps = digits[0]["steps"]
    print(
        f"stop flag: {share:.2%} of {digits[0]['fit']:.1f} s of training, {steps} steps on 2 ranks "
        f"({digits[0]['asking'] / steps * 1e6:.0f} us a step)"
    )
    (sentiment,) = _run("sentiment", 1, "experiment=sentiment", "+run.resume_steps=20")
    waits, takes = sentiment["waits"], sentiment["takes"]
    print(
        f"checkpoint of {sentiment['bytes'] / 1e6:.0f} MB: training waits {max(waits):.2f} s at most, of {len(waits)}: "
        f"{max(waits) / 600:.3%} of ten minutes; it is on disk after {takes:.2f} s"
    )
    return int(share > FLAG or max(waits) / 600 > CHECKPOINT)


def _run(example: str, world_size: int, *words: str) -> list[dict[str, Any]]:
    """What each rank of a run, made a member of a sweep, has measured."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "ranks").mkdir()
        context = MemberContext(
            sweep=here, index=0, directory=here, attempt=0, attempt_directory=here
        )
        for rank in range(world_size):
            claim(here, rank, identity(os.getpid()))
        member = {
            **context.environment(),
            "CLOCKS": folder,
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        size, rest = str(world_size), {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        wired = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "NODE_RANK": "0", **rest}
        ranks = [
            subprocess.Popen(
                [sys.executable, __file__, "--rank", *words, f"hydra.run.dir={folder}"],
                cwd=EXAMPLES / example,
                env={**os.environ, **member}
                | ({**wired, "RANK": str(rank), "LOCAL_RANK": str(rank)} if world_size > 1 else {}),
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            for rank in range(world_size)
        ]
        said = [rank.communicate()[0] for rank in ranks]
        if any(rank.returncode for rank in ranks):
            raise RuntimeError(said[0][-2000:])
        return [json.loads(_clock(rank, folder).read_text()) for rank in range(world_size)]


def _clock(rank: int, folder: str | None = None) -> Path:
    return Path(folder or os.environ["CLOCKS"]) / f"clock.{rank}.json"


def _rank() -> None:
    """`trident`, with a clock at the hooks."""
    sys.argv.remove("--rank")
    sys.path.insert(0, str(Path.cwd()))
    import trident.run
    from trident.resume.callback import Resumable
    from trident.resume.checkpoints import Checkpoints

    told: dict[str, Any] = {"asking": 0.0, "waits": []}

    def clocked(function: Callable[..., Any], tell: Callable[[float], None]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                tell(time.perf_counter() - begun)

        return call

    def asked(seconds: float) -> None:
        told["asking"] += seconds

    def ended(self: Any, trainer: Any, module: Any) -> None:
        on_train_end(self, trainer, module)
        told["fit"] = time.perf_counter() - told["begun"] - told["asking"]
        told["steps"], told["takes"] = trainer.global_step, self._checkpoints.seconds
        told["bytes"] = (self._checkpoints._last or {}).get("bytes")
        _clock(trainer.global_rank).write_text(json.dumps(told))

    def started(self: Any, trainer: Any, module: Any) -> None:
        on_train_start(self, trainer, module)
        told["begun"] = time.perf_counter()

    on_train_start, on_train_end = Resumable.on_train_start, Resumable.on_train_end
    patched: Any = Resumable
    patched.on_train_start, patched.on_train_end = started, ended
    patched.on_train_batch_end = clocked(Resumable.on_train_batch_end, asked)
    writer: Any = Checkpoints
    writer.write = clocked(Checkpoints.write, told["waits"].append)
    trident.run.main()


if __name__ == "__main__":
    if "--rank" in sys.argv:
        _rank()
    else:
        sys.exit(main())
