"""Samples read, the error of a metric, and the first step that differs after a kill: this project and plain Lightning.

    python benchmarks/exactness/main.py > benchmarks/exactness.md

Both sides train the same network on the same data, on 2 nodes x 2 ranks (four processes of this machine, over gloo), in
one run of this script. Lightning uses the usual recipes: its own sampler for tables, and `sync_dist=True` for metrics;
`split_dataset_by_node` with NODE_RANK and WORLD_SIZE for streams; `ModelCheckpoint(every_n_train_steps=…)` and
`ckpt_path` to resume. The script takes a minute and a half on two cores, and exits with 1 unless this project is exact.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trident.protocol.member import MemberContext, claim
from trident.protocol.processes import identity

HERE = Path(__file__).parent
KILL_AFTER, EPOCHS = 18, 4
SIDES = {
    "this project": ["-m", "trident.run"],
    "Lightning, by recipe": [str(HERE / "plain.py")],
}


@dataclass(frozen=True)
class Came:
    """What one of the sides came to."""

    read: dict[str, str]
    """Of each kind of data, what of an epoch's samples was read."""
    error: float
    """Of the accuracy that was reported, against all samples evaluated in one process."""
    differs: int | None
    """The first step whose loss is another one after the kill."""
    again: int
    """Steps that were run again after it; of a run that began anew, as many as had been taken."""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        came = {name: _came(name, Path(folder) / name[0]) for name in SIDES}
    ours = came["this project"]
    _print(came)
    exact = all(told.startswith("1000 once") for told in ours.read.values())
    went_on = 0 <= ours.again < KILL_AFTER
    return int(not (exact and ours.error < 1e-6 and ours.differs is None and went_on))


def _came(name: str, folder: Path) -> Came:
    read = {}
    for kind in ("map", "stream"):
        account = folder / kind / "account"
        _run(name, kind, folder / kind, account)
        read[kind] = _read(account)
    account = folder / "killed" / "account"
    _run(name, "map", folder / "killed", account, kill_after=KILL_AFTER)
    _run(name, "map", folder / "killed", account, attempt=1)
    calm, killed = _losses(folder / "map" / "account"), _losses(account)
    differing = sorted(step for step in calm if calm[step] != killed.get(step))
    again = len(_lines(account, 0)) - len(calm)
    first = differing[0] if differing else None
    return Came(read, _error(folder / "map" / "account"), first, again)


def _run(
    name: str, kind: str, folder: Path, account: Path, *, attempt: int = 0, kill_after: int = -1
) -> None:
    """Four ranks, as a launcher of two nodes would start them."""
    place = folder / "attempts" / str(attempt)
    (place / "ranks").mkdir(parents=True)
    member = MemberContext(
        sweep=folder.parent, index=0, directory=folder, attempt=attempt, attempt_directory=place
    )
    argv = list(SIDES[name])
    if name == "this project":
        argv += [f"hydra.run.dir={folder}"]
        argv.append(f"datamodule.train.points.dataset.stream={str(kind == 'stream').lower()}")
        if kind == "stream":  # which has an order of its own
            argv.append("~datamodule.train.points.dataloader.shuffle")
    wired = {
        "KIND": kind,
        "FOLDER": str(folder),
        "ACCOUNT": str(account),
        "KILL_AFTER": str(kill_after),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(HERE),
        **member.environment(),
        **({"RESUME": "1"} if attempt else {}),
    }
    for rank in range(4):
        claim(place, rank, identity(os.getpid()))
    ranks = _start(argv, wired)
    said = [rank.communicate()[0] for rank in ranks]
    expected = -9 if kill_after > 0 else 0
    if {rank.returncode for rank in ranks} != {expected}:
        raise RuntimeError(
            f"{name} ended with {[rank.returncode for rank in ranks]}:\n{said[0][-3000:]}"
        )


def _start(argv: Sequence[str], wired: dict[str, str]) -> list[subprocess.Popen[str]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    return [
        subprocess.Popen(
            [sys.executable, *argv],
            cwd=HERE,
            env={
                **os.environ,
                **wired,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank % 2),
                "NODE_RANK": str(rank // 2),
                "GROUP_RANK": str(rank // 2),
                "WORLD_SIZE": "4",
                "LOCAL_WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank in range(4)
    ]


def _lines(account: Path, rank: int) -> list[list[Any]]:
    return [json.loads(line) for line in Path(f"{account}.{rank}").read_text().splitlines()]


def _read(account: Path) -> str:
    """Of the samples, how many ranks together have read once in each epoch, more often in one, and never in one."""
    epochs = [Counter[int]() for _ in range(EPOCHS)]
    for rank in range(4):
        lines = _lines(account, rank)
        for at, (_, _, batch) in enumerate(lines):
            epochs[at * EPOCHS // len(lines)].update(batch)
    times = [[epoch[sample] for epoch in epochs] for sample in range(1000)]
    once = sum(set(counts) == {1} for counts in times)
    more, never = (
        sum(test(counts) for counts in times) for test in (lambda c: max(c) > 1, lambda c: 0 in c)
    )
    return f"{once} once, {more} more often, {never} never"


def _losses(account: Path) -> dict[int, list[str]]:
    """By step, those of all ranks; of a step that was run again, the later."""
    found: dict[int, dict[int, str]] = {}
    for rank in range(4):
        for step, loss, _ in _lines(account, rank):
            found.setdefault(step, {})[rank] = loss
    return {step: [by_rank[rank] for rank in sorted(by_rank)] for step, by_rank in found.items()}


def _error(account: Path) -> float:
    sys.path.insert(0, str(HERE))
    import torch
    from data import Net, accuracy, rows

    end = torch.load(f"{account}.end", weights_only=True)
    net = Net().eval()
    net.load_state_dict(end["model"])
    points = rows(101, 5000)[:]
    with torch.no_grad():
        true = float(accuracy(net(**points)["preds"], points["labels"]))
    return abs(true - end["accuracy"])


def _print(came: dict[str, Came]) -> None:
    title = (__doc__ or "").split("\n\n")
    rows = {
        "a table's 1000 samples, in each of 4 epochs": [c.read["map"] for c in came.values()],
        "a stream's": [c.read["stream"] for c in came.values()],
        "error of the accuracy on 101 samples": [f"{c.error:.1e}" for c in came.values()],
        f"first step that differs after a kill after step {KILL_AFTER}": [
            "none, of 40, on 4 ranks" if c.differs is None else str(c.differs)
            for c in came.values()
        ],
        "steps that were run again": [str(c.again) for c in came.values()],
    }
    print("# Exactness, measured\n")
    print(" ".join(title[0].split()), end="\n\n```\n")
    print(title[1].strip(), end="\n```\n\n")
    print(" ".join(title[2].split()), end="\n\n")
    print("| 2 nodes x 2 ranks |", " | ".join(came), "|")
    print("| --- |" + " --- |" * len(came))
    for name, values in rows.items():
        print(f"| {name} |", " | ".join(values), "|")


if __name__ == "__main__":
    sys.exit(main())
