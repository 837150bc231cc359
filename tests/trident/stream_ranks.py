"""Ranks that read streams by a datamodule, forked by one process that has imported what they need.

``stream_ranks.py ROOT WORLD_SIZE…`` writes ``ROOT/W.RANK.json``: for each of :data:`CASES` the batches of ids by epoch,
and which of them are the rank's own; of what is evaluated, rank 0 also writes all ranks' in order.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import torch
import torch.distributed as dist
from torch.utils.data import IterableDataset, get_worker_info
from torchmetrics.classification import MulticlassAUROC, MulticlassF1Score

import trident.distributed.collectives
from trident.core.datamodule import TridentDataModule
from trident.core.metrics import StepMetric
from trident.distributed.collectives import gather
from trident.utils.enums import Split

EPOCHS = 2
KEPT: list[TridentDataModule] = []
"""Kept, since torch waits seconds for persistent workers whose dataloader is garbage in a cycle."""


@dataclass(frozen=True, kw_only=True)
class Case:
    size: int
    kind: str = "datasets"  # or "torch", "map"
    shards: int = 1
    batch_size: int = 3
    workers: int = 0
    shuffle: bool = False
    persistent: bool = False
    uneven: str = "join"
    train: bool = True
    drop_last: bool = False
    by_hand: bool = False
    everywhere: bool = True
    """Also on more than two ranks, whose workers are many processes."""


def drawn() -> list[Case]:
    """Cases of all sorts, the same in every process."""
    random_ = random.Random(0)
    found = []
    for _ in range(40):
        size = random_.randint(4, 40)
        found.append(
            Case(
                size=size,
                kind=random_.choice(["datasets", "datasets", "torch", "map"]),
                shards=random_.randint(1, min(size, 9)),
                batch_size=random_.randint(1, 5),
                shuffle=random_.random() < 0.5,
                train=random_.random() < 0.6,
            )
        )
    return found


CASES = [
    *drawn(),
    Case(size=17, shards=5, workers=1),
    Case(size=17, kind="map", workers=3, everywhere=False),
    Case(size=17, kind="map", workers=2, shuffle=True),
    Case(size=17, kind="map", workers=1, train=False),
    Case(size=17, kind="torch", workers=1, shuffle=True, train=False),
    Case(size=17, kind="torch", workers=2, shuffle=True),
    Case(size=17, kind="torch", workers=2, train=False, everywhere=False),
    Case(size=17, shards=5, workers=2, everywhere=False),
    Case(size=17, shards=4, workers=3, shuffle=True, everywhere=False),
    Case(size=17, shards=12, workers=2, shuffle=True),
    Case(size=17, shards=8, train=False, workers=2, everywhere=False),
    Case(size=17, kind="torch", workers=2, shuffle=True, persistent=True, everywhere=False),
    Case(size=17, shards=4, workers=2, shuffle=True, persistent=True, everywhere=False),
    Case(size=17, kind="map", workers=2, shuffle=True, persistent=True, everywhere=False),
    Case(size=3, shards=3, train=False),
    Case(size=17, shards=12, train=False, batch_size=2),
    Case(size=17, shards=12, train=False, batch_size=2, shuffle=True),
    Case(size=17, shards=12, train=False, batch_size=2, by_hand=True),
    Case(size=17, shards=5, train=False, by_hand=True),
    Case(size=17, shards=5, train=False, drop_last=True),
    *(
        Case(size=17, kind=kind, shards=12, batch_size=2, train=train)
        for kind in ("repeated", "by number", "mixed", "joined")
        for train in (True, False)
    ),
    Case(size=17, kind="torch", train=False, shuffle=True),
    Case(size=3, shards=3),
    Case(size=1, kind="torch"),
    Case(size=41, shards=4, batch_size=2, uneven="pad"),
    Case(size=41, shards=4, batch_size=2, uneven="drop"),
]


class Numbers(IterableDataset):
    """Shares its samples out among workers, and has another order each epoch."""

    def __init__(self, size: int, shuffle: bool) -> None:
        self.size, self.shuffle, self.epoch = size, shuffle, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):
        order = list(range(self.size))
        if self.shuffle:
            random.Random(self.epoch).shuffle(order)
        info = get_worker_info()
        return iter(
            [{"id": i} for i in order[info.id if info else 0 :: info.num_workers if info else 1]]
        )


def numbers(kind: str, size: int, shards: int, shuffle: bool):
    if kind == "torch":
        return Numbers(size, shuffle)
    table = datasets.Dataset.from_dict({"id": list(range(size))})
    if kind == "map":
        return table.with_format("torch")
    stream = table.to_iterable_dataset(num_shards=shards)
    other = datasets.Dataset.from_dict({"id": list(range(100, 105))}).to_iterable_dataset(5)
    if kind == "repeated":
        stream = stream.repeat(2)
    elif kind == "by number":
        stream = stream.map(lambda _, at: {"id": at}, with_indices=True)
    elif kind == "mixed":
        how: Any = "all_exhausted_without_replacement"
        stream = datasets.interleave_datasets([stream, other], stopping_strategy=how)
    elif kind == "joined":
        stream = datasets.concatenate_datasets([stream, other])
    return (stream.shuffle(seed=1, buffer_size=5) if shuffle else stream).with_format("torch")


def config(case: Case) -> dict:
    dataset = {key: getattr(case, key) for key in ("kind", "size", "shards", "shuffle")}
    loader: dict[str, Any] = {"batch_size": case.batch_size, "num_workers": case.workers}
    loader["drop_last"] = case.drop_last
    if case.workers:
        loader["persistent_workers"] = case.persistent
        loader["multiprocessing_context"] = "fork"
    if case.kind == "map" and case.train:
        loader["shuffle"] = case.shuffle
    split = {"split": {"_target_": "trident.sharding.split_by_rank"}}
    return {
        "dataset": {"_target_": "stream_ranks.numbers", **dataset},
        "preprocessing": {"apply": split if case.kind == "torch" or case.by_hand else None},
        "dataloader": {"_target_": "torch.utils.data.DataLoader", **loader},
    }


def read(case: Case, rank: int, world_size: int) -> dict:
    trainer: Any = SimpleNamespace(
        global_rank=rank,
        is_global_zero=rank == 0,
        world_size=world_size,
        current_epoch=0,
        fit_loop=None,
        state=None,
    )
    split = Split.TRAIN if case.train else Split.TEST
    data = TridentDataModule(**{split.value: {"it": config(case)}}, uneven=case.uneven)
    data.trainer = trainer
    KEPT.append(data)
    data.setup("fit" if case.train else "test")
    loader = data.train_dataloader() if case.train else data.test_dataloader()
    epochs: list[dict[str, Any]] = []
    for epoch in range(EPOCHS):
        trainer.current_epoch = epoch
        if case.workers:
            # CPython 3.11 can wait without end in a process that is forked while another thread ends, as those do that
            # fed the workers of the last pass.
            time.sleep(0.05)
        batches, own, metrics = [], [], measures()
        if case.train:  # as Lightning does: what is evaluated is the same each time
            tell(loader, epoch)
        for index, batch in enumerate(loader):
            if not case.train:
                batch, index, _ = batch
            filler = (
                data.is_training_filler(batch, index)
                if case.train
                else data.is_filler(split, "it", index)
            )
            if not case.train and (not filler or data.is_empty(split, "it")):
                measure(metrics, batch["id"], filler=filler)
            batches.append(batch["id"].tolist())
            own.append(not filler)
        epochs.append({"batches": batches, "own": own})
        if not case.train:
            epochs[-1]["metrics"] = measured(metrics)
            parts = gather([batch for batch, mine in zip(batches, own, strict=True) if mine])
            epochs[-1]["in_order"] = data.in_order(split, "it", parts) if parts else None
    return {"case": asdict(case), "epochs": epochs}


def measures() -> dict[str, StepMetric]:
    """One with lists for its state, one with sums, and a function."""
    return {
        "auroc": StepMetric(MulticlassAUROC(3)),
        "f1": StepMetric(MulticlassF1Score(3)),
        "mean": StepMetric(
            lambda preds, target: {"right": (preds.argmax(-1) == target).float().mean()}
        ),
    }


def measure(metrics: dict[str, StepMetric], ids: torch.Tensor, *, filler: bool = False) -> None:
    preds = torch.stack([(ids * 7 % 11) / 11, (ids * 5 % 13) / 13, (ids * 3 % 17) / 17], dim=1)
    given = {"preds": preds.softmax(-1), "target": ids % 3}
    for metric in metrics.values():
        metric.update(given, size=len(ids), device=ids.device, filler=filler)


def measured(metrics: dict[str, StepMetric]) -> dict[str, Any]:
    return {name: metric.compute(torch.device("cpu")) for name, metric in metrics.items()}


def tell(loader, epoch: int) -> None:
    """What Lightning and the engine's callbacks do at the beginning of an epoch."""
    from trident.data.loaders import set_epoch_on

    for one in getattr(loader, "flattened", [loader]):
        set_epoch_on(one, epoch)


def main(rank: int, world_size: int, root: Path) -> None:
    torch.set_num_threads(1)
    trident.distributed.collectives.CHUNK = 64  # so that what is gathered takes several
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world_size), "LOCAL_RANK": str(rank)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(world_size), "NODE_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    dist.init_process_group(
        "gloo", init_method=f"file://{root}/meet{world_size}", rank=rank, world_size=world_size
    )
    found = [read(case, rank, world_size) for case in CASES if world_size == 2 or case.everywhere]
    (root / f"{world_size}.{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    os._exit(0)


if __name__ == "__main__":
    for size in map(int, sys.argv[2:]):
        fork = get_context("fork")
        ranks = [
            fork.Process(target=main, args=(rank, size, Path(sys.argv[1]))) for rank in range(size)
        ]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(100)
        if any(process.exitcode for process in ranks):
            sys.exit(f"exit codes {[process.exitcode for process in ranks]}")
