"""One of two ranks of `test_two_ranks`: several runs in one process, as starting costs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from support import call

ROOT = Path(sys.argv[1])
CHECKPOINT = sys.argv[2]
BARE = (
    "callbacks.checkpoint=null",
    "callbacks.early_stopping=null",
    "logger.csv=null",
    "run.optimized_metric=null",
)
NO_EVALUATION = (*BARE, "datamodule.val=null", "datamodule.test=null")
SPLIT = "+datamodule.train.toy.preprocessing.apply.split._target_=trident.sharding.split_by_rank"
FAILING = "{_partial_: true, _target_: toyproject.toy.fail}"

RUNS = {
    # Half the batch size: the optimizer steps of one process.
    "fit": ["datamodule.train.toy.dataloader.batch_size=4"],
    "test": ["trainer.limit_train_batches=0.0", f"run.ckpt_path='{CHECKPOINT}'", *BARE],
    "odd": [*BARE, "datamodule.train.toy.dataloader.batch_size=4", "spec.dataset.size=25"],
    "manual": [*NO_EVALUATION, SPLIT],
    "stream": [
        *NO_EVALUATION,
        "datamodule.train.toy.preprocessing=null",
        "spec.dataset._target_=toyproject.toy.rows",
        "+spec.dataset.stream=true",
        "~datamodule.train.toy.dataloader.shuffle",
        "module.scheduler=null",
    ],
    "refused": [*BARE, "spec.dataset.size=1"],
    "devices": [*BARE, "+trainer.devices=3"],
    "bad": [*BARE, f"+spec.evaluation.metrics.bad.metric={FAILING}"],
}

for name, overrides in RUNS.items():
    code = call(ROOT / name, *overrides, f"module.model.log={ROOT / name}/seen")
    (ROOT / f"{name}.exit.{os.environ['RANK']}").write_text(str(code))

# The last run failed in the middle, and its process group is in no state to be left politely.
os._exit(0)
