"""Attempts of a member, started as a launcher would, and what their ranks have traced."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

from support import finish, member_variables, start


def trained_on(*traces: Path) -> list[Counter[int]]:
    """Samples by epoch, as ranks have traced them."""
    found: dict[int, Counter[int]] = {}
    for line in chain.from_iterable(path.read_text().splitlines() for path in traces):
        kind, *_, ids, epoch = json.loads(line)
        if kind == "step":
            found.setdefault(epoch, Counter()).update(chain.from_iterable(ids))
    return [found[epoch] for epoch in sorted(found)]


def attempt_of(folder: Path, number: int, size: int, trace: str, *more: str) -> str:
    """One attempt of a member with two epochs of 12 batches in all, and what its ranks said."""
    where = f"_target_: toyproject.trace.Trace, path: {folder}/trace, {trace}"
    words = ("datamodule.train.toy.dataloader.batch_size=2", "trainer.max_epochs=2", *more)
    codes, said = finish(begun(folder, number, size, f"+callbacks.trace={{{where}}}", *words))
    assert not any(codes), said[-3000:]
    return said


def begun(folder: Path, number: int, size: int, *words: str) -> list[Any]:
    """The ranks of an attempt."""
    (folder / "run" / "attempts" / str(number)).mkdir(parents=True)
    argv = ["-m", "trident.run", f"hydra.run.dir={folder}/run", *words]
    return start(argv, world_size=size, warm=True, **member_variables(folder / "run", number))
