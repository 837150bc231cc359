"""Private names of other libraries do what trident relies on: each test says which library changed, and what breaks."""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torchmetrics.metric
from datasets import Dataset
from datasets.distributed import split_dataset_by_node
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, ModelParallelStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy

from trident.data import hf_streams
from trident.trainer.internals import datasets as of_datasets
from trident.trainer.internals import lightning as of_lightning
from trident.trainer.internals import torch as of_torch
from trident.trainer.internals import torchmetrics as of_torchmetrics
from trident.trainer.internals import transformers as of_transformers

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.filterwarnings("ignore:The `srun` command")


@contextmanager
def relied_on(library: str, name: str, by: str) -> Iterator[None]:
    """Fails with a sentence where a library does not do what is tried in this block."""
    try:
        yield
    except Exception as error:
        pytest.fail(
            f"{library} {version(library)} has changed {name}, on which depends {by}: {type(error).__name__}: {error}"
        )


class Tiny(pl.LightningModule):
    """Logs a mean, and has a torchmetrics object."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 2)
        self.accuracy = MulticlassAccuracy(num_classes=2)
        self.calls: list[str] = []

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        scores = self.layer(batch)
        self.accuracy(scores, torch.zeros(len(batch), dtype=torch.long))
        self.log("mean", batch.mean(), on_epoch=True, on_step=True)
        return scores.sum()

    def on_train_epoch_start(self) -> None:
        self.calls.append("on_train_epoch_start")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Seen(pl.Callback):
    """What a callback sees of private names after a batch."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sums: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.calls.append("on_train_epoch_start")

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        assert of_lightning.current_results(trainer) is of_lightning.epoch_results(trainer)
        (mean,) = of_lightning.epoch_results(trainer).values()
        self.sums.append(float(mean.metric_state["value"]))


def trainer_of(folder: Path, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    given = {"max_epochs": 1, "accelerator": "cpu", "logger": False, "callbacks": list(callbacks)}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "devices": 1}
    plugins = [LightningEnvironment()]
    return pl.Trainer(default_root_dir=folder, plugins=plugins, **quiet, **given, **options)


class Fitted:
    """A trainer that has taken two steps."""

    def __init__(self, folder: Path) -> None:
        self.seen, self.module = Seen(), Tiny()
        self.saves = ModelCheckpoint(dirpath=folder, save_last=True)
        self.trainer = trainer_of(folder, self.seen, self.saves)
        self.loader: Any = DataLoader(torch.tensor([[1.0], [2.0], [3.0], [4.0]]), batch_size=2)
        self.trainer.fit(self.module, self.loader)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice, which is about workers
        return Fitted(tmp_path_factory.mktemp("fitted"))


# -- Lightning -----------------------------------------------------------------------------------


def test_a_module_knows_whether_it_has_a_trainer(fitted: Fitted) -> None:
    with relied_on("lightning", "LightningModule._trainer", "a training step outside of a fit"):
        assert of_lightning.attached_trainer(fitted.module) is fitted.trainer
        assert of_lightning.attached_trainer(Tiny()) is None


def test_what_starts_other_ranks(fitted: Fitted) -> None:
    with relied_on("lightning", "_SubprocessScriptLauncher", "the refusal of children of sweeps"):
        assert not of_lightning.starts_processes(fitted.trainer)
        strategy = type("Strategy", (), {"launcher": object.__new__(_SubprocessScriptLauncher)})
        fake: Any = type("Trainer", (), {"strategy": strategy})
        assert of_lightning.starts_processes(fake)
        ddp = DDPStrategy(cluster_environment=LightningEnvironment())
        ddp._configure_launcher()
        assert isinstance(ddp.launcher, _SubprocessScriptLauncher)


@pytest.mark.parametrize("splits", [True, False])
def test_who_splits_data(splits: bool, tmp_path: Path) -> None:
    name = "Trainer._accelerator_connector.use_distributed_sampler"
    with relied_on("lightning", name, "the warning of ranks that read all data"):
        trainer = trainer_of(tmp_path, use_distributed_sampler=splits)
        assert of_lightning.splits_data(trainer) is splits


def test_ddp_looks_for_unused_parameters() -> None:
    with relied_on("lightning", "DDPStrategy._ddp_kwargs", "equal sums after a resume"):
        plain, decided = DDPStrategy(), DDPStrategy(find_unused_parameters=False)
        of_lightning.allow_unused_parameters(plain)
        of_lightning.allow_unused_parameters(decided)
        assert plain._ddp_kwargs == {"find_unused_parameters": True}
        assert decided._ddp_kwargs == {"find_unused_parameters": False}
        assert "**self._ddp_kwargs" in inspect.getsource(DDPStrategy)


def test_how_many_ranks_share_data_and_layers() -> None:
    name = "ModelParallelStrategy._data_parallel_size"
    with relied_on("lightning", name, "trainer/strategy=fsdp"):
        strategy = ModelParallelStrategy()
        of_lightning.set_parallel_sizes(strategy, data=4, tensor=1)
        source = inspect.getsource(ModelParallelStrategy)
        assert "self._data_parallel_size, self._tensor_parallel_size, self.world_size" in source


def test_deepspeed_can_be_started_and_restored() -> None:
    with relied_on("lightning", "DeepSpeedStrategy", "trainer/strategy=deepspeed_zero3"):
        assert list(inspect.signature(DeepSpeedStrategy._restore_zero_state).parameters) == [
            "self",
            "ckpt",
            "strict",
        ]
        assert list(
            inspect.signature(DeepSpeedStrategy._init_deepspeed_distributed).parameters
        ) == ["self"]


def test_deepspeed_asks_what_it_can_compile() -> None:
    with relied_on("deepspeed", "ops.__compatible_ops__", "starting deepspeed on a CPU"):
        found = find_spec("deepspeed")
        assert found is not None and found.origin is not None
        folder = Path(found.origin).parent
        assert "__compatible_ops__" in (folder / "ops" / "__init__.py").read_text()
        users = [path.read_text() for path in (folder / "comm").glob("*.py")]
        assert any("deepspeed_shm_comm" in text or "ShareMemCommBuilder" in text for text in users)


def test_hooks_of_all_callbacks_and_of_the_module_can_be_called(fitted: Fitted) -> None:
    with relied_on("lightning", "trainer.call", "the hooks of an epoch that is resumed"):
        calls = len(fitted.seen.calls), len(fitted.module.calls)
        of_lightning.call_callbacks(fitted.trainer, "on_train_epoch_start")
        assert (len(fitted.seen.calls), len(fitted.module.calls)) == (calls[0] + 1, calls[1])
        of_lightning.call_module(fitted.trainer, "on_train_epoch_start")
        assert len(fitted.module.calls) == calls[1] + 1


def test_an_epoch_that_is_over_is_not_ended_again(tmp_path: Path) -> None:
    with relied_on(
        "lightning", "_FitLoop._iteration_based_training", "a resume with trainer.max_steps"
    ):
        trainer = trainer_of(tmp_path, max_steps=10)
        trainer.fit_loop.restarting = True
        assert trainer.fit_loop.restarting, "though no epoch has begun"
        of_lightning.limit_by_epochs(trainer)
        trainer.fit_loop.restarting = True
        assert not trainer.fit_loop.restarting


def test_training_dataloaders_are_kept_and_made_again(fitted: Fitted) -> None:
    with relied_on("lightning", "_FitLoop._combined_loader", "the resume of any dataloader"):
        assert of_lightning.combining_mode(fitted.trainer) == "max_size_cycle"
        combined = fitted.trainer.fit_loop._combined_loader
        assert fitted.trainer.train_dataloader is fitted.loader
        of_lightning.forget_training_loaders(fitted.trainer)
        assert fitted.trainer.train_dataloader is None
        fitted.trainer.fit_loop._combined_loader = combined


def test_a_checkpoint_counts_the_batches_that_stepped(fitted: Fitted) -> None:
    with relied_on("lightning", "_TrainingEpochLoop._batches_that_stepped", "the logs of a resume"):
        state = fitted.trainer.fit_loop.state_dict()
        assert state["epoch_loop.state_dict"]["_batches_that_stepped"] == 2
        of_lightning.uncount_batch_that_stepped(state)
        assert state["epoch_loop.state_dict"]["_batches_that_stepped"] == 1
        for key in ("epoch_loop.batch_progress", "epoch_progress"):
            assert {"ready", "completed"} <= set(state[key]["current"])


def test_what_an_epoch_has_logged_is_seen(fitted: Fitted) -> None:
    with relied_on("lightning", "_TrainingEpochLoop._results", "means of an epoch after a resume"):
        assert fitted.seen.sums == [1.5 * 2, 1.5 * 2 + 3.5 * 2]
        assert of_lightning.current_results(fitted.trainer) == {}, "when no loop runs"


def test_the_last_values_are_kept_under_three_names(fitted: Fitted) -> None:
    with relied_on("lightning", "_LoggerConnector", "what was logged last, after a resume"):
        values = of_lightning.last_values(fitted.trainer)
        assert list(values) == ["_callback_metrics", "_logged_metrics", "_progress_bar_metrics"]
        assert float(values["_callback_metrics"]["mean"]) == 2.5
        other = deepcopy(values)
        other["_callback_metrics"]["mean"] = torch.tensor(7.0)
        of_lightning.set_last_values(fitted.trainer, other)
        assert float(fitted.trainer.callback_metrics["mean"]) == 7
        of_lightning.set_last_values(fitted.trainer, values)


def test_a_first_batch_begins_the_sums_anew_unless_it_is_asked_not_to(fitted: Fitted) -> None:
    with relied_on("lightning", "_LoggerConnector._first_loop_iter", "means after a resume"):
        connector = fitted.trainer._logger_connector
        connector._first_loop_iter = True
        assert connector.should_reset_tensors("training_step")
        of_lightning.keep_sums_of_epoch(fitted.trainer)
        assert not connector.should_reset_tensors("training_step")


def test_the_last_checkpoint_can_be_saved(fitted: Fitted) -> None:
    with relied_on("lightning", "ModelCheckpoint._save_last_checkpoint", "last.ckpt"):
        assert of_lightning.step_of_last_save(fitted.saves) == 2
        assert of_lightning.values_for_file_names(fitted.saves, fitted.trainer)["step"] == 2
        last = Path(fitted.saves.last_model_path)
        last.unlink()
        of_lightning.save_last(fitted.saves, fitted.trainer)
        assert last.is_file()


# -- torchmetrics --------------------------------------------------------------------------------


def test_a_metric_counts_its_updates_and_keeps_its_values() -> None:
    with relied_on("torchmetrics", "Metric._update_count, _computed, _forward_cache", "resumes"):
        metric = MulticlassAccuracy(num_classes=2, average="micro")
        batch = torch.tensor([0, 1]), torch.tensor([0, 0])
        metric(*batch)
        assert of_torchmetrics.updates(metric) == 1
        assert float(of_torchmetrics.forward_value(metric)) == 0.5
        of_torchmetrics.set_forward_value(metric, torch.tensor(0.25))
        assert float(of_torchmetrics.forward_value(metric)) == 0.25
        assert float(metric.compute()) == 0.5
        metric.tp = torch.tensor(4)  # as what restores a state does
        assert float(metric.compute()) == 0.5, "it is kept"
        of_torchmetrics.forget_value(metric)
        assert float(metric.compute()) != 0.5
        of_torchmetrics.set_updates(metric, 0)
        assert not metric.update_called


class Ranks:
    """Stands in for other ranks: counts how often a metric gathers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        monkeypatch.setattr(of_torchmetrics, "_are_there_ranks", lambda: True)

    def gather(self, value: torch.Tensor, group: Any = None) -> list[torch.Tensor]:
        self.asked += 1
        return [value, value]

    def made_and_computed(self) -> None:
        """As in a function of a user's."""
        metric = MulticlassAccuracy(num_classes=2, dist_sync_fn=self.gather)
        metric.update(torch.tensor([0, 1]), torch.tensor([0, 0]))
        metric.compute()


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Ranks:
    return Ranks(monkeypatch)


SEAM = ("torchmetrics", "metric.jit_distributed_available", "metric functions on several ranks")


def test_metrics_that_are_made_and_computed_alone_gather_nothing(ranks: Ranks) -> None:
    with relied_on(*SEAM):
        ranks.made_and_computed()
        assert (asked := ranks.asked) > 0
        with of_torchmetrics.without_gathering():
            ranks.made_and_computed()
        assert ranks.asked == asked
        ranks.made_and_computed()
        assert ranks.asked == 2 * asked


def test_other_threads_gather_as_ever(ranks: Ranks) -> None:
    with relied_on(*SEAM), of_torchmetrics.without_gathering():
        thread = threading.Thread(target=ranks.made_and_computed)
        thread.start()
        thread.join()
    assert ranks.asked > 0


def test_a_metric_can_be_copied_and_pickled(ranks: Ranks) -> None:
    with relied_on(*SEAM):
        metric = MulticlassAccuracy(num_classes=2)
        assert metric.distributed_available_fn is of_torchmetrics.are_there_ranks
        assert b"trident" not in pickle.dumps(metric)
        copied = pickle.loads(pickle.dumps(metric))
        assert copied.distributed_available_fn is torchmetrics.metric.jit_distributed_available


# -- torch, datasets, transformers ---------------------------------------------------------------


def test_workers_are_ended_with_their_iterator() -> None:
    with relied_on("torch", "DataLoader._iterator", "what a stream draws in its second epoch"):
        source = inspect.getsource(DataLoader.__iter__)
        assert "if self._iterator is None:" in source
        loader: Any = DataLoader([1, 2])
        assert loader._iterator is None
        loader._iterator = object()
        of_torch.end_workers(loader)
        assert loader._iterator is None


def test_a_schedule_keeps_the_last_rates() -> None:
    with relied_on("torch", "LRScheduler._last_lr", "the learning rate on other ranks"):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        of_torch.set_last_rates(schedule, [0.5])
        assert schedule.get_last_lr() == [0.5]


def stream(shards: int = 4) -> Any:
    return Dataset.from_dict({"id": list(range(8))}).to_iterable_dataset(num_shards=shards)


def test_a_table_has_a_fingerprint() -> None:
    with relied_on("datasets", "Dataset._fingerprint", "the comparison of ranks' data"):
        one, same, other = (Dataset.from_dict({"id": ids}) for ids in ([1, 2], [1, 2], [1, 3]))
        marks = [of_datasets.fingerprint(each) for each in (one, same, other)]
        assert marks[0] == marks[1] != marks[2]
        assert of_datasets.fingerprint([1, 2]) is None


@pytest.mark.parametrize("shards", [4, 3])
def test_a_split_of_a_stream_is_seen_and_taken_back(shards: int) -> None:
    with relied_on("datasets", "IterableDataset._distributed", "who reads what of a stream"):
        whole = stream(shards)
        part = split_dataset_by_node(whole, rank=1, world_size=2)
        assert of_datasets.split(whole) is None and of_datasets.split([1]) is None
        assert (of_datasets.split(part).rank, of_datasets.split(part).world_size) == (1, 2)
        back = of_datasets.without_split(part)
        assert [row["id"] for row in back] == list(range(8))
        assert len(list(part)) == 4 and type(back) is type(part)


def test_the_stages_of_a_stream_are_seen() -> None:
    with relied_on("datasets", "IterableDataset._ex_iterable", "who reads what of a stream"):
        assert of_datasets.source([1]) is None
        assert hf_streams.shards(stream()) == 4
        assert hf_streams.is_made_of_shards(stream().map(lambda row: row))
        assert not hf_streams.is_made_of_shards(stream().shuffle(seed=1, buffer_size=3))
        assert not hf_streams.is_made_of_shards(stream().repeat(2))
        assert hf_streams.counts(stream().take(3)) and hf_streams.counts(stream().skip(3))
        assert hf_streams.counts(stream().map(lambda row, at: row, with_indices=True))
        part = split_dataset_by_node(stream(), rank=0, world_size=2)
        later = part.take(1)
        assert any(hf_streams.follows_split(stage) for stage in hf_streams.stages(later))
        states = {
            seed: [hf_streams.generator_state(one) for one in hf_streams.stages(s)]
            for seed in (1, 2)
            if (s := stream().shuffle(seed=seed, buffer_size=3))
        }
        assert any(states[1]) and states[1] != states[2]


def test_a_pretrained_model_names_its_layers() -> None:
    with relied_on("transformers", "PreTrainedModel._no_split_modules", "how FSDP cuts a model"):
        from transformers import BertConfig, BertModel

        model = BertModel(
            BertConfig(
                vocab_size=8,
                hidden_size=4,
                num_hidden_layers=1,
                num_attention_heads=1,
                intermediate_size=4,
            )
        )
        names = {type(module).__name__ for module in model.modules()}
        assert of_transformers.layer_types(model) & names
        assert of_transformers.layer_types(torch.nn.Linear(1, 1)) == set()


# -- no class of ours touches a private name of the class that it extends --------------------------

LIBRARIES = ("lightning", "torch", "torchmetrics", "datasets", "transformers", "hydra", "omegaconf")


def modules() -> list[str]:
    hook = ROOT / "trident" / "protocol" / "hook"  # whose modules are imported by other names
    paths = sorted(p for p in (ROOT / "trident").rglob("*.py") if p.parent != hook)
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names]


@cache
def private_names(kind: type) -> frozenset[str]:
    """What a class of another library defines or sets on its objects."""
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(kind)))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }
    return frozenset(name for name in used | set(vars(kind)) if is_private(name))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith(("__", "_abc_impl"))


def test_no_class_uses_a_private_name_of_a_class_that_it_extends() -> None:
    found = []
    for module in map(importlib.import_module, modules()):
        for kind in vars(module).values():
            if not inspect.isclass(kind) or kind.__module__ != module.__name__:
                continue
            others = [base for base in kind.__mro__ if base.__module__.startswith(LIBRARIES)]
            if not others:
                continue
            own = private_names(kind)
            found += [
                f"{kind.__name__}.{name} is {base.__module__}.{base.__name__}'s"
                for base in others
                for name in own & private_names(base)
            ]
    assert not found
