"""Starting the engine as its users do: processes with a command line and an environment."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hydra._internal.hydra import Hydra
from hydra.types import RunMode

import trident.run
from trident.protocol.member import MemberContext, claim
from trident.protocol.processes import identity
from trident.protocol.ranks import VARIABLES, Ranks
from trident.protocol.records import RESULT, read_json

PROJECT = Path(__file__).parent / "project"

VARIABLE = "{{_target_: builtins.int, _args_: [{{_target_: os.environ.get, _args_: [{}]}}]}}"
BY_NODE = (
    "+datamodule.train.toy.preprocessing.apply.split_dataset_by_node="
    "{_target_: datasets.distributed.split_dataset_by_node, "
    f"rank: {VARIABLE.format('NODE_RANK')}, world_size: {VARIABLE.format('WORLD_SIZE')}}}"
)
"""A recipe that users have, right with one task a node."""

ONE_EPOCH = (
    "spec.dataset._target_=toyproject.toy.rows",
    "~datamodule.train.toy.preprocessing",
    "callbacks.early_stopping=null",
    "callbacks.checkpoint=null",
    "run.optimized_metric=null",
    "trainer.max_epochs=1",
    "datamodule.val=null",
    "datamodule.test=null",
)
"""Every rank writes down the 24 samples that it trains on once: `logged` is where, `samples_read` what."""


BARE = (
    "callbacks.checkpoint=null",
    "callbacks.early_stopping=null",
    "logger.csv=null",
    "run.optimized_metric=null",
)
"""No files but the record, and nothing that judges."""

STREAMS = (
    "trainer.limit_train_batches=0.0",
    "datamodule.val=null",
    "datamodule.test.other.dataset._target_=toyproject.toy.rows",
    "datamodule.test.other.dataset.size=17",
    "+datamodule.test.other.dataset.stream=true",
    "+datamodule.test.one.dataset="
    "{_target_: toyproject.toy.rows, size: 1, first: 7, stream: true, shards: 1}",
    "+datamodule.test.one.dataloader=${spec.dataloader}",
    "+datamodule.test.one.evaluation=${spec.evaluation}",
)
"""Tests streams: one whose second half is a batch shorter, and one of a single sample."""


def logged(folder: Path) -> str:
    return f"module.model.log={folder}/seen"


def samples_read(folder: Path) -> list[int]:
    """The ids of the samples that all ranks have read, in order."""
    texts = [path.read_text() for path in folder.glob("seen.*")]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    return sorted(chain.from_iterable(lines))


F1 = "{_target_: torchmetrics.classification.MulticlassF1Score, num_classes: 3}"
COLLECTION = f"{{_convert_: all, _target_: torchmetrics.MetricCollection, metrics: {{one: {F1}, two: {F1}}}}}"
INPUT = "{preds: outputs.preds, target: batch.labels}"
INSIDE = "{_partial_: true, _target_: toyproject.toy.inside}"
KINDS = (
    *("trainer.limit_train_batches=0.0", "datamodule.val=null"),
    f"+spec.evaluation.metrics.at_end={{metric: {F1}, kwargs: {{preds: outputs.preds, target: outputs.labels}}}}",
    f"+spec.evaluation.metrics.both={{compute_on: eval_step, metric: {COLLECTION}, kwargs: {INPUT}}}",
    "+spec.evaluation.metrics.rates={compute_on: eval_step, metric: {_partial_: true, _target_: "
    f"toyproject.toy.rates}}, kwargs: {INPUT}}}",
    f"+spec.evaluation.metrics.inside={{metric: {INSIDE}, kwargs: {{preds: outputs.preds, target: outputs.labels}}}}",
    f"+spec.evaluation.metrics.inside_step={{compute_on: eval_step, metric: {INSIDE}, kwargs: {INPUT}}}",
    "spec.evaluation.step_outputs.outputs=[preds, r*, loss]",
    "+spec.evaluation.metrics.mean_loss={metric: {_partial_: true, _target_: torch.mean}, "
    "kwargs: {input: outputs.loss}}",
    "+spec.evaluation.prepare.outputs={_partial_: true, _target_: toyproject.toy.add_to_outputs}",
    "+spec.evaluation.prepare.step_outputs={_partial_: true, _target_: toyproject.toy.ids_and_more}",
    "+spec.evaluation.metrics.more={metric: {_partial_: true, _target_: toyproject.toy.count}, "
    "kwargs: {rest: outputs.more, epoch: trident_module.trainer.current_epoch}}",
)
"""More kinds of metrics than all runs have."""


MORE_SETS = (
    "+datamodule.test.odd=${datamodule.val.odd}",
    "+datamodule.test.tiny=${datamodule.val.tiny}",
)
"""Of 23 samples, and of one, which two ranks cannot share."""


def limited(limit: str) -> list[str]:
    """A part of what is tested: of tables, and of streams where those can be limited; one comes in batches."""
    batched = (
        "dataset: {_target_: toyproject.toy.rows, size: 17, stream: true}, "
        "preprocessing: {method: {batch: {batch_size: 4}}}, "
        "dataloader: {_target_: torch.utils.data.DataLoader, batch_size: null}, "
        "evaluation: ${spec.evaluation}"
    )
    stream = (
        f"+datamodule.test.batched={{{batched}}}",
        *(
            "datamodule.test.other.dataset._target_=toyproject.toy.rows",
            "+datamodule.test.other.dataset.stream=true",
        ),
        "datamodule.test.other.dataset.size=17",
    )
    words = ["trainer.limit_train_batches=0.0", *MORE_SETS[: 2 if limit == "2" else 1]]
    words += ["datamodule.test.empty=null", *(stream if limit == "2" else ())]
    return [*words, f"trainer.limit_test_batches={limit}"]


APART = (
    *(
        "module={_target_: toyproject.toy.Apart}",
        "trainer.limit_train_batches=0.0",
        "datamodule.val=null",
    ),
    *(
        "datamodule.test.empty=null",
        "datamodule.test.bare=null",
        "datamodule.test.other.dataset.size=9",
    ),
)
"""Tests a set of 9 samples, of which two ranks have batches of 4, and of 4 and 1, by a module that is not trident's."""

APART_FIT = (
    *(
        "module={_target_: toyproject.toy.Apart}",
        "trainer.max_epochs=2",
        "datamodule.val.tiny=null",
    ),
    *("datamodule.val.odd.dataset.size=9", "datamodule.test=null"),
)

EDGED = (
    *(
        "trainer.limit_train_batches=0.0",
        "datamodule.val=null",
        "module._target_=toyproject.toy.Edged",
    ),
    "+spec.dataloader.collate_fn={_target_: toyproject.toy.with_edges, _partial_: true}",
)

EVALUATED = {
    "test": ("trainer.limit_train_batches=0.0", *MORE_SETS),
    "streams": STREAMS,
    "kinds": KINDS,
    "edged": EDGED,
    **{f"limited_{limit}": limited(limit) for limit in ("2", "0.6")},
}
"""What one process and two ranks evaluate by one checkpoint, with equal results."""


def sharded(strategy: str) -> list[str]:
    """Overrides for it; deepspeed's buffers, hundreds of megabytes, are made as small as these models."""
    sizes = {"reduce_bucket_size": 10000, "allgather_bucket_size": 10000}
    small = [f"+trainer.strategy.{key}={size}" for key, size in sizes.items()]
    return [f"+trainer/strategy={strategy}", *(small if "deepspeed" in strategy else [])]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment(**extra: str) -> dict[str, str]:
    """A user's, with the environment of these tests active: `python` and `trident` are its own."""
    kept = {
        k: v for k, v in os.environ.items() if k not in VARIABLES and not k.startswith("TRIDENT_")
    }
    active = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    return kept | {"PATH": active} | extra


def member_variables(folder: Path, attempt: int, place: Path | None = None) -> dict[str, str]:
    """The variables of a member in `folder`: given to `start` or `call`, they make its processes ranks of it."""
    place = place or folder / "attempts" / str(attempt)
    return MemberContext(
        sweep=folder.parent, index=0, directory=folder, attempt=attempt, attempt_directory=place
    ).environment()


def claim_for(env: Mapping[str, str], parent: int) -> None:
    """Do what a worker does before it starts a rank: a process with this environment is the child of `parent`."""
    if (context := MemberContext.read(env)) is not None:
        (context.attempt_directory / "ranks").mkdir(parents=True, exist_ok=True)
        claim(context.attempt_directory, int(env.get("RANK", "0")), identity(parent))


class Forked:
    """What `subprocess.Popen` is to a test, forked from a process that has imported the engine and no more."""

    _warm = multiprocessing.get_context("forkserver")

    def __init__(self, argv: Sequence[str], cwd: Path, env: dict[str, str]) -> None:
        self._warm.set_forkserver_preload(["trident.engine", "datasets", "transformers"])
        handle, said = tempfile.mkstemp(prefix="said-")
        os.close(handle)
        self._said = Path(said)
        self._process = self._warm.Process(target=_become, args=(list(argv), cwd, env, said))
        self._process.start()

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            raise subprocess.TimeoutExpired(["forked"], timeout or 0)
        said = self._said.read_text()
        self._said.unlink()
        return said, None

    def kill(self) -> None:
        self._process.kill()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode


def _become(argv: list[str], cwd: Path, env: dict[str, str], said: str) -> None:
    """Run ``python ARGV`` from here on."""
    multiprocessing.set_start_method("fork", force=True)  # as in a process of a shell's
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # the process forked from may know that of an earlier test
    claim_for(env, os.getppid())
    os.chdir(cwd)
    log = os.open(said, os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.path[:0] = env.get("PYTHONPATH", "").split(os.pathsep)
    if argv[0] == "-m":
        sys.path.insert(0, str(cwd))
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(argv[0]).parent))
        sys.argv = argv
        runpy.run_path(argv[0], run_name="__main__")


def start(
    argv: Sequence[str],
    *,
    world_size: int = 1,
    project: Path = PROJECT,
    warm: bool = False,
    **extra: str,
) -> list[Any]:
    """One process, or as many as ranks, running ``python ARGV`` in a project; `warm` saves importing the engine."""
    port, processes = free_port(), []
    for rank in range(world_size):
        ranks = Ranks(
            rank=rank,
            local_rank=rank,
            node_rank=0,
            world_size=world_size,
            local_world_size=world_size,
            master_addr="127.0.0.1",
            master_port=port,
            source="environment",
        )
        wired = ranks.environment() if world_size > 1 else {}
        env = environment(**wired, **extra)
        if warm:
            processes.append(Forked(argv, project, env))
            continue
        claim_for(env, os.getpid())
        process = subprocess.Popen(
            [sys.executable, *argv],
            cwd=project,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        processes.append(process)
    return processes


def until_step(record: Path, step: int) -> None:
    """Wait for a checkpoint to go on from that is of `step` or later."""
    limit = time.monotonic() + 60
    while (found := read_json(record)) is None or found["step"] < step:
        assert time.monotonic() < limit, f"{record}: {found}, and not of step {step}"
        time.sleep(0.01)


def finish(processes: Sequence[Any], timeout: float = 300) -> tuple[list[int], str]:
    """Exit codes in order of rank, and all that was printed."""
    outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    return [process.returncode for process in processes], "\n".join(outputs)


def run(
    directory: Path, *overrides: str, world_size: int = 1, **extra: str
) -> tuple[list[int], str]:
    argv = ["-m", "trident.run", f"hydra.run.dir={directory}", *overrides]
    return finish(start(argv, world_size=world_size, **extra))


def result(directory: Path) -> dict:
    record = read_json(directory / RESULT)
    assert record is not None, f"no {RESULT} in {directory}"
    return record


def call(directory: Path, *overrides: str, project: Path = PROJECT) -> int:
    """The same in this process, which has the engine imported already; returns the exit code."""
    claim_for(os.environ, os.getppid())
    before = sys.argv, Path.cwd(), sys.path[:]
    sys.argv = ["trident", f"hydra.run.dir={directory}", *overrides]
    os.chdir(project)
    with warnings.catch_warnings(), patch.object(Hydra, "get_mode", lambda *_, **__: RunMode.RUN):
        # Hydra would compose everything twice, to see whether this is a sweep.
        warnings.simplefilter("ignore")  # Lightning's advice on workers, intervals and the like
        try:
            trident.run.main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        finally:
            sys.argv, sys.path[:] = before[0], before[2]
            os.chdir(before[1])
            # Another project has another `src`.
            for name in [name for name in sys.modules if name.partition(".")[0] == "src"]:
                del sys.modules[name]
    return 0
