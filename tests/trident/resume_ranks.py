"""One of the ranks of `test_exact_resume`: runs that are stopped and go on, and the same undisturbed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from support import call

import trident.resuming
from trident.records import STOPPED

ROOT, WORLD_SIZE = Path(sys.argv[1]), int(os.environ.get("WORLD_SIZE", "1"))
RANK = os.environ.get("RANK", "0")
TRAIN = "datamodule.train.toy"
BATCH = f"{TRAIN}.dataloader.batch_size={4 // WORLD_SIZE}"
NOISY = (f"{TRAIN}.dataset={{_target_: toyproject.trace.Noisy, size: 24}}",)
WORKERS = (f"+{TRAIN}.dataloader.num_workers=2",)
STREAM = (
    f"{TRAIN}.dataset={{_target_: toyproject.trace.NoisyStream, size: 24}}",
    f"~{TRAIN}.dataloader.shuffle",
    f"~{TRAIN}.preprocessing",
    "module.scheduler=null",
    *(
        [f"+{TRAIN}.preprocessing.apply.split._target_=trident.sharding.split_by_rank"]
        if WORLD_SIZE > 1
        else []
    ),
)
ROWS = (
    f"{TRAIN}.dataset={{_target_: toyproject.toy.rows, size: 24, stream: true}}",
    f"~{TRAIN}.dataloader.shuffle",
    f"~{TRAIN}.preprocessing",
    "module.scheduler=null",
)
SHUFFLED = (*ROWS, f"+{TRAIN}.preprocessing.method.shuffle={{buffer_size: 7, seed: 3}}")
BOTH = (
    "module._target_=toyproject.toy.Both",
    "+datamodule.train.more={dataset: {_target_: toyproject.trace.Noisy, size: 10}, dataloader: "
    f"{{_target_: torch.utils.data.DataLoader, batch_size: {4 // WORLD_SIZE}, shuffle: true}}}}",
)
MODES = ("max_size_cycle", "min_size", "max_size")

RUNS = {
    "plain": (),
    "noisy": NOISY,
    "workers": (*NOISY, *WORKERS),
    "persistent": (*NOISY, *WORKERS, f"+{TRAIN}.dataloader.persistent_workers=true"),
    "accumulated": ("+trainer.accumulate_grad_batches=3", "+trainer.gradient_clip_val=0.3"),
    "validated": ("+trainer.val_check_interval=2",),
    "stream": STREAM,
    "stream_workers": (*STREAM, *WORKERS),
    "rows": ROWS,
    "rows_shuffled": SHUFFLED,
    **{mode: (*BOTH, f"+datamodule.mode={mode}") for mode in MODES if mode != "max_size"},
}
CHOSEN = sys.argv[2].split(",") if len(sys.argv) > 2 and sys.argv[2] else list(RUNS)
STOPS = (2, 7, 12, 13)
"""Batches after which a run is told to stop; an epoch has six, a run three epochs."""


def member(name: str, overrides: tuple[str, ...], stops: tuple[int, ...]) -> None:
    """A run to its end, over as many attempts as that takes."""
    folder = ROOT / name
    os.environ["TRIDENT_MEMBER_DIR"] = str(folder)
    where = f"path: {ROOT}/{name}.trace, stop_after: {list(stops)}"
    trace = f"+callbacks.trace={{_target_: toyproject.trace.Trace, {where}}}"
    for attempt in range(len(stops) + 1):
        place = folder / "attempts" / str(attempt)
        place.mkdir(parents=True, exist_ok=True)
        os.environ.update(TRIDENT_ATTEMPT=str(attempt), TRIDENT_ATTEMPT_DIR=str(place))
        code = call(folder, *COMMON, *overrides, trace)
        if code:
            (ROOT / f"{name}.failed.{RANK}").write_text(f"attempt {attempt}: {code}")
        if not (place / STOPPED).exists():
            return


COMMON = (
    BATCH,
    "module.model.dropout=0.3",
    "+trainer.deterministic=true",
    "callbacks.early_stopping=null",
    "logger.csv=null",
)
trident.resuming.CHECK_S = 0.0  # asked after each batch, which takes no time here
for name in CHOSEN:
    member(f"{name}-calm", RUNS[name], ())
    member(f"{name}-told", RUNS[name], STOPS)
    shutil.rmtree(ROOT / f"{name}-calm", ignore_errors=True)

os._exit(0)
