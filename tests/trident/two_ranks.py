"""One of two ranks of `test_two_ranks`: several runs in one process, as starting costs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from support import APART, APART_FIT, BARE, BY_NODE, EVALUATED, call

ROOT = Path(sys.argv[1])
CHECKPOINT = sys.argv[2]
NO_EVALUATION = (*BARE, "datamodule.val=null", "datamodule.test=null")
SPLIT = "+datamodule.train.toy.preprocessing.apply.split._target_=trident.sharding.split_by_rank"
ROWS = (
    *NO_EVALUATION,
    "spec.dataset._target_=toyproject.toy.rows",
    "~datamodule.train.toy.preprocessing",
)
SAMPLER = (
    "+datamodule.train.toy.preprocessing.apply.wrap_sampler="
    "{_target_: torch.utils.data.DistributedSampler, shuffle: true}"
)
STREAM = ("+spec.dataset.stream=true", "~datamodule.train.toy.dataloader.shuffle")
UNEVEN = [*ROWS, *STREAM, "module.scheduler=null", "spec.dataset.size=17"]
BROKEN = (
    "+datamodule.train.toy.preprocessing.method.map="
    "{function: {_partial_: true, _target_: toyproject.toy.broken, at: 15}}"
)
FAILING = "{_partial_: true, _target_: toyproject.toy.fail}"

MORE_STEPS = (
    "+datamodule.train.toy.preprocessing.method.filter="
    "{function: {_partial_: true, _target_: toyproject.toy.below, limit: 23}}"
)
PREPARED = (
    "~spec.dataset",
    f"+spec.dataset={{_target_: datasets.load_dataset, path: json, data_files: {ROOT}/rows.json, "
    f"split: train, cache_dir: {ROOT}/cache}}",
    "~datamodule.train.toy.preprocessing",
    "+datamodule.train.toy.preprocessing.method={map: {function: {_partial_: true, "
    f"_target_: toyproject.toy.noted, log: {ROOT}/mapped}}}}, with_format: {{type: torch}}}}",
)

RUNS = {
    # Half the batch size: the optimizer steps of one process.
    "fit": ["datamodule.train.toy.dataloader.batch_size=4"],
    **{name: [*BARE, *words, f"run.ckpt_path='{CHECKPOINT}'"] for name, words in EVALUATED.items()},
    "odd": [*BARE, "datamodule.train.toy.dataloader.batch_size=4", "spec.dataset.size=25"],
    "manual": [*NO_EVALUATION, SPLIT],
    "stream": [*ROWS, *STREAM, "module.scheduler=null"],
    "uneven": UNEVEN,
    "pad": [*UNEVEN, "+datamodule.uneven=pad"],
    **{
        f"both_{mode}": [
            *(*UNEVEN, "trainer.max_epochs=1", "module._target_=toyproject.toy.BothCounted"),
            "+datamodule.train.more={dataset: {_target_: toyproject.toy.rows, size: 24, first: 100, stream: true}, "
            "dataloader: {_target_: torch.utils.data.DataLoader, batch_size: 8}}",
            f"+datamodule.mode={mode}",
        ]
        for mode in ("sequential", "max_size")
    },
    "drop_all": [
        *UNEVEN,
        "+datamodule.uneven=drop",
        "spec.dataset.size=1",
        "+spec.dataset.shards=1",
    ],
    "drop": [*UNEVEN, "+datamodule.uneven=drop"],
    "broken": [*UNEVEN, BROKEN],
    "unsplit": [*ROWS, "+datamodule.sharding=manual"],
    "sampler": [*ROWS, SAMPLER],
    "lightning": [*ROWS, "+datamodule.sharding=manual", "+trainer.use_distributed_sampler=true"],
    "by_node": [*ROWS, BY_NODE],
    "by_node_stream": [*ROWS, *STREAM, BY_NODE, "module.scheduler=null"],
    "by_node_then_step": [*ROWS, BY_NODE, MORE_STEPS],
    "by_node_wrong": [*ROWS, BY_NODE],
    "prepared": [*NO_EVALUATION, *PREPARED],
    "foreign": [
        *BARE,
        "datamodule._target_=toyproject.toy.Plain",
        *(f"~datamodule.{key}" for key in ("_recursive_", "misc", "train", "val", "test")),
    ],
    "predict": [
        *(
            f"+datamodule.predict.{name}={{dataset: {{_target_: toyproject.toy.rows, size: 17, stream: true, "
            f"shards: {shards}}}, dataloader: {{num_workers: {workers}, _target_: torch.utils.data.DataLoader, "
            "batch_size: 3}, evaluation: {step_outputs: {batch: [ids]}}}"
            for name, shards, workers in (("even", 4, 0), ("uneven", 3, 0), ("in_turn", 4, 2))
        ),
        "+datamodule.predict.single={dataset: {_target_: toyproject.toy.Toy, size: 1}, evaluation: "
        "${datamodule.predict.even.evaluation}, dataloader: ${datamodule.predict.even.dataloader}}",
        "+datamodule.predict.single_stream={dataset: {_target_: toyproject.toy.rows, size: 1, stream: true, "
        "shards: 1}, evaluation: ${datamodule.predict.even.evaluation}, dataloader: "
        "${datamodule.predict.even.dataloader}}",
        "+datamodule.predict.own={dataset: ${datamodule.predict.uneven.dataset}, evaluation: "
        "${datamodule.predict.even.evaluation}, dataloader: {_target_: toyproject.toy.loader, batch_size: 3}}",
        "+datamodule.predict.rebuilt={dataset: {_target_: toyproject.toy.rows, size: 17}, dataloader: "
        "${datamodule.predict.even.dataloader}, evaluation: ${datamodule.predict.even.evaluation}, preprocessing: "
        "{apply: {split: {_target_: trident.sharding.split_by_rank}}, "
        "method: {to_iterable_dataset: {num_shards: 2}}}}",
        *NO_EVALUATION,
        "trainer.limit_train_batches=0.0",
        f"run.ckpt_path='{CHECKPOINT}'",
        "+datamodule.predict.seven={dataset: {_target_: toyproject.toy.Toy, size: 7}}",
        "+datamodule.predict.seven.dataloader=${spec.dataloader}",
        "+datamodule.predict.seven.evaluation=${spec.evaluation}",
    ],
    "by_node_tested": [*BARE, BY_NODE.replace("train.toy", "test.other")],
    "by_node_validated": [
        *(*BARE, "+trainer.num_sanity_val_steps=0", "+trainer.check_val_every_n_epoch=2"),
        BY_NODE.replace("train.toy", "val.odd"),
    ],
    "counted": [*UNEVEN, "module._target_=toyproject.toy.Counted"],
    "apart": [*BARE, *APART],
    "apart_one": [*BARE, *APART, "datamodule.test.other.dataset.size=1"],
    "apart_fit": [*BARE, *APART_FIT],
    "limited_by_hand": [
        *(*BARE, *EVALUATED["limited_0.6"], f"run.ckpt_path='{CHECKPOINT}'"),
        "+datamodule.test.other.preprocessing.apply.split._target_=trident.sharding.split_by_rank",
    ],
    "judged_uneven": [
        *(*UNEVEN, "run.optimized_metric=train/loss", "trainer.log_every_n_steps=1"),
        "callbacks.checkpoint={_target_: lightning.pytorch.callbacks.ModelCheckpoint, monitor: train/loss}",
    ],
    "judged": [
        *(
            "run.optimized_metric=train/loss",
            "callbacks.early_stopping=null",
            "datamodule.test=null",
        ),
        *("datamodule.val=null", "callbacks.checkpoint.mode=min", "~module.scheduler"),
        "+module.scheduler={monitor: train/loss, interval: epoch, scheduler: {patience: 0, threshold: 9.0, "
        "_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, threshold_mode: abs}}",
        f"+callbacks.trace={{_target_: toyproject.trace.Trace, path: {ROOT}/judged.trace}}",
    ],
    "unalike": [
        *("module._target_=toyproject.toy.Unalike", "run.optimized_metric=train/own"),
        *("callbacks.early_stopping=null", "datamodule.val=null", "datamodule.test=null"),
    ],
    "by_the_clock": [*BARE, "+trainer.val_check_interval=00:00:00:01"],
    "refused": [*BARE, "spec.dataset.size=1"],
    "devices": [*BARE, "+trainer.devices=3"],
    "bad": [*BARE, f"+spec.evaluation.metrics.bad.metric={FAILING}"],
}

ONE_TASK_A_NODE = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "GROUP_RANK": os.environ["RANK"]}
TWO_TASKS_ON_A_NODE = {name: os.environ[name] for name in ONE_TASK_A_NODE}
NODES = {"by_node", "by_node_stream", "by_node_then_step"}

for name, overrides in RUNS.items():
    if len(sys.argv) > 3 and name not in sys.argv[3:]:
        continue
    os.environ.update(ONE_TASK_A_NODE if name in NODES else TWO_TASKS_ON_A_NODE)
    code = call(ROOT / name, *overrides, f"module.model.log={ROOT / name}/seen")
    (ROOT / f"{name}.exit.{os.environ['RANK']}").write_text(str(code))

# The last run failed in the middle, and its process group is in no state to be left politely.
os._exit(0)
