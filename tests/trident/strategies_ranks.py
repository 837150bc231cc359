"""One of the ranks of `test_strategies`: a run for each strategy, in one process, as starting costs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from support import call, sharded

ROOT, WORLD_SIZE = Path(sys.argv[1]), int(os.environ.get("WORLD_SIZE", "1"))
CHECKPOINTS = dict(word.split("@") for word in sys.argv[3:])
"""What is tested only: strategy and path."""

TRAIN = "datamodule.train.toy"
LOSS = "{metric: {_partial_: true, _target_: torch.nn.functional.cross_entropy}, "
LOSS += "kwargs: {input: outputs.logits, target: outputs.labels}}"
MODEL = (
    "~module.model",
    "+module.model={_target_: toyproject.toy.Deep}",
    "module.optimizer.lr=0.2",
    "+module.optimizer.momentum=0.9",
    "+trainer.gradient_clip_val=0.5",
    "+trainer.accumulate_grad_batches=2",
    "+trainer.val_check_interval=1",
    "+trainer.num_sanity_val_steps=0",
    "spec.evaluation.step_outputs.outputs=[preds,r*,logits]",
    f"+spec.evaluation.metrics.loss={LOSS}",
    f"{TRAIN}.dataloader.batch_size={6 // WORLD_SIZE}",
    "+callbacks.checkpoint.save_top_k=-1",
)
STATELESS = "module.optimizer.momentum=0.0"
"""SGD that remembers nothing: its state in a checkpoint is empty."""


def run(name: str, *overrides: str) -> None:
    code = call(ROOT / name, *MODEL, *overrides)
    (ROOT / f"{name}.exit.{os.environ.get('RANK', '0')}").write_text(str(code))


def resume(name: str, *overrides: str) -> None:
    """Once more the last of three epochs."""
    (path,) = (ROOT / name / "checkpoints").glob("epoch=1-*.ckpt")
    run(f"{name}-resumed", f"run.ckpt_path='{path}'", *overrides)


for strategy in filter(None, sys.argv[2].split(",")):
    run(strategy, *sharded(strategy))
    if WORLD_SIZE > 1:
        resume(strategy, *sharded(strategy))
for strategy, path in CHECKPOINTS.items():
    only = ("trainer.limit_train_batches=0.0", "callbacks.checkpoint=null")
    run(
        f"test-{strategy}",
        *only,
        "run.optimized_metric=null",
        f"run.ckpt_path='{path}'",
        *sharded(strategy),
    )
if WORLD_SIZE > 1:
    run("stateless", "+trainer/strategy=fsdp", STATELESS)
    resume("stateless", "+trainer/strategy=fsdp", STATELESS)
    # 3 batches an epoch, 2 to accumulate
    run("rest", *sharded("deepspeed_zero1"), "trainer.limit_train_batches=3")
    run("outside", "+trainer/strategy=fsdp", "module._target_=toyproject.toy.Half")

os._exit(0)
