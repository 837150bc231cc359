"""Every key of a config that trident itself reads: the single table that checks, completion and docs follow."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from trident.config.annotations import Accepted, accepted

__all__ = [
    "COMPUTE_ON",
    "KEYS",
    "MODES",
    "REQUIRED",
    "SHARDING",
    "SPEC",
    "UNEVEN",
    "Key",
    "below",
    "key_at",
]

SPEC = "datamodule.SPLIT.NAME"
"""The path of a dataspec."""

SHARDING = ("auto", "manual")
MODES = ("max_size_cycle", "min_size", "max_size", "sequential")
UNEVEN = ("join", "pad", "drop")
COMPUTE_ON = ("epoch_end", "eval_step")

REQUIRED = "required"
"""The default of a key that has none."""


@dataclass(frozen=True)
class Key:
    """A key of the config.

    Attributes:
        path: in it, ``SPLIT`` and ``NAME`` stand for a split and a name that the user chooses.
        type: what it takes, as an annotation: ``int | None``.
        default: as it is written in YAML, or where it comes from.
        read_in: the file that reads it, relative to the repository.
        about: one sentence on what it does.
        unit: of a number.
    """

    path: str
    type: str
    default: str
    read_in: str
    about: str
    unit: str = ""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @cached_property
    def accepts(self) -> Accepted | None:
        """The values that it takes; None if they are not checked."""
        return accepted(ast.parse(self.type, mode="eval").body)

    def mismatch(self, value: Any) -> str | None:
        """What was expected, in words, if the value is wrong; null is the same as no value."""
        return (
            None if self.accepts is None or value is None else self.accepts.strict_mismatch(value)
        )


def _one_of(values: tuple[str, ...]) -> str:
    return f"Literal[{', '.join(map(repr, values))}]"


ENGINE, RUN, MODULE = "trident/engine.py", "trident/cli/run.py", "trident/core/module.py"
OPTIMIZER, DATAMODULE = "trident/core/optimizer.py", "trident/core/datamodule.py"
DATASPEC, EVALSPEC = "trident/core/dataspec.py", "trident/core/evalspec.py"
EVALUATION, SCHEMA = "trident/core/evaluation.py", "trident/config/schema.py"

KEYS = (
    Key(
        "run",
        "dict",
        "{}",
        ENGINE,
        "Settings of the run, and your own variables. Loggers record all of them.",
    ),
    Key(
        "run.seed", "int | None", "42", ENGINE, "Seeds all random numbers, also the order of data."
    ),
    Key(
        "run.ckpt_path",
        "str | None",
        "null",
        ENGINE,
        "The path of a checkpoint to resume from. If nothing is trained, this checkpoint is tested.",
    ),
    Key(
        "run.optimized_metric",
        "str | None",
        "null",
        ENGINE,
        "The name of the metric that a run returns, at the tested checkpoint if this metric selected it, "
        "else at the end.",
    ),
    Key(
        "run.resume_minutes",
        "float | None",
        "10",
        ENGINE,
        "The time between two checkpoints to resume from, for members of a sweep.",
        unit="minutes",
    ),
    Key(
        "run.resume_steps",
        "int | None",
        "null",
        ENGINE,
        "The steps between two checkpoints to resume from, in addition to those by time.",
        unit="optimizer steps",
    ),
    Key("print_config", "bool", "false", RUN, "Prints the composed config when a run begins."),
    Key("ignore_warnings", "bool", "false", RUN, "Silences Python's warnings."),
    Key("trainer", "dict", "trainer: default", ENGINE, "The arguments of Lightning's Trainer."),
    Key(
        "trainer.limit_train_batches",
        "int | float | None",
        "1.0",
        ENGINE,
        "A number or a fraction of batches. 0 skips training.",
    ),
    Key(
        "trainer.limit_test_batches",
        "int | float | None",
        "1.0",
        ENGINE,
        "The same for the test. 0 skips it.",
    ),
    Key(
        "trainer.limit_predict_batches",
        "int | float | None",
        "1.0",
        ENGINE,
        "The same for predictions. 0 skips them.",
    ),
    Key(
        "trainer.use_distributed_sampler",
        "bool",
        "false",
        ENGINE,
        "true splits training data over ranks even with `datamodule.sharding: manual`.",
    ),
    Key(
        "trainer.default_root_dir",
        "str",
        "the run's directory",
        ENGINE,
        "The directory for predictions and Lightning's own files.",
    ),
    Key("module", "dict", "module: default", ENGINE, "The LightningModule and its arguments."),
    Key("module.model", "dict", "???", MODULE, "The model, created by its `_target_`."),
    Key(
        "module.optimizer",
        "dict",
        "adamw",
        OPTIMIZER,
        "The optimizer. trident passes it the model's parameters.",
    ),
    Key(
        "module.optimizer.weight_decay",
        "float",
        "0.01",
        OPTIMIZER,
        "Weight decay. It does not apply to biases and normalizations.",
    ),
    Key(
        "module.scheduler",
        "dict | None",
        "linear_warm_up",
        OPTIMIZER,
        "A schedule that steps after each optimizer step, or Lightning's dict with `scheduler` inside.",
    ),
    Key(
        "module.scheduler.num_warmup_steps",
        "float",
        "0.1",
        OPTIMIZER,
        "A fraction of all steps up to 1, or a number of steps.",
    ),
    Key(
        "module.initialize_model",
        "bool",
        "true",
        MODULE,
        "false: your subclass creates `self.model`.",
    ),
    Key(
        "module.evaluation",
        "dict",
        "none",
        SCHEMA,
        "Not read by the module. Data sets can refer to it as `${module.evaluation}`.",
    ),
    Key("datamodule", "dict", "datamodule: default", ENGINE, "All data sets."),
    Key("datamodule.train", "dict | None", "null", DATAMODULE, "Data sets to train on, by name."),
    Key(
        "datamodule.val",
        "dict | None",
        "null",
        DATAMODULE,
        "Data sets to evaluate during training, by name.",
    ),
    Key(
        "datamodule.test",
        "dict | None",
        "null",
        DATAMODULE,
        "Data sets to evaluate after training, by name.",
    ),
    Key(
        "datamodule.predict",
        "dict | None",
        "null",
        DATAMODULE,
        "Data sets whose predictions are written to files, by name.",
    ),
    Key(
        "datamodule.misc", "any", "none", DATAMODULE, "Your own values. trident does not read them."
    ),
    Key(
        "datamodule.sharding",
        _one_of(SHARDING),
        "auto",
        DATAMODULE,
        "auto: trident gives each rank its part. manual: your data sets do this.",
    ),
    Key(
        "datamodule.mode",
        _one_of(MODES),
        "max_size_cycle",
        DATAMODULE,
        "How several training sets are combined into an epoch.",
    ),
    Key(
        "datamodule.uneven",
        _one_of(UNEVEN),
        "join",
        DATAMODULE,
        "How an epoch ends if the ranks' parts of training data differ in length.",
    ),
    Key(
        f"{SPEC}.dataset",
        "dict",
        REQUIRED,
        DATASPEC,
        "The data set, created by its `_target_`.",
    ),
    Key(
        f"{SPEC}.preprocessing",
        "dict | None",
        "none",
        DATASPEC,
        "Steps, in the order in which they are written.",
    ),
    Key(
        f"{SPEC}.preprocessing.method",
        "dict",
        "none",
        DATASPEC,
        "Methods of the data set, with their arguments. null leaves a step out.",
    ),
    Key(
        f"{SPEC}.preprocessing.apply",
        "dict",
        "none",
        DATASPEC,
        "Functions, by `_target_`, that take the data set. The last one may create a sampler.",
    ),
    Key(
        f"{SPEC}.dataloader",
        "dict",
        REQUIRED,
        DATASPEC,
        "The dataloader, created by its `_target_`. `batch_size` is per rank.",
    ),
    Key(
        f"{SPEC}.evaluation",
        "dict | None",
        "none",
        DATASPEC,
        "How the model's outputs are processed and evaluated.",
    ),
    Key(f"{SPEC}.misc", "any", "none", DATASPEC, "Your own values. trident does not read them."),
    Key(
        f"{SPEC}.evaluation.prepare",
        "dict | None",
        "none",
        EVALSPEC,
        "Hooks. They are called with keyword arguments.",
    ),
    Key(
        f"{SPEC}.evaluation.prepare.batch",
        "function",
        "none",
        EVALUATION,
        "Takes `batch`, `trident_module`, `split`, `dataset_name`. Returns the batch for the model.",
    ),
    Key(
        f"{SPEC}.evaluation.prepare.outputs",
        "function",
        "none",
        EVALUATION,
        "Takes `outputs`, `batch`, `trident_module`, `split`, `dataset_name` after each batch. Returns outputs.",
    ),
    Key(
        f"{SPEC}.evaluation.prepare.step_outputs",
        "function",
        "none",
        EVALUATION,
        "Takes `step_outputs`, `trident_module`, `split`, `dataset_name` once per epoch. Returns outputs.",
    ),
    Key(
        f"{SPEC}.evaluation.prepare.flatten_outputs",
        "bool",
        "true",
        EVALUATION,
        "false: hooks and metrics get a list with one item per batch.",
    ),
    Key(
        f"{SPEC}.evaluation.step_outputs",
        "dict | None",
        "all outputs and batches",
        EVALSPEC,
        "The values of each batch to keep.",
    ),
    Key(
        f"{SPEC}.evaluation.step_outputs.outputs",
        "str | list",
        "none",
        EVALUATION,
        "The keys of the model's outputs to keep, or globs.",
    ),
    Key(
        f"{SPEC}.evaluation.step_outputs.batch",
        "str | list",
        "none",
        EVALUATION,
        "The keys of the batch to keep, or globs.",
    ),
    Key(
        f"{SPEC}.evaluation.metrics",
        "dict",
        "none",
        EVALSPEC,
        "Metrics, logged as `{data set}/{split}/{metric}`.",
    ),
    Key(
        f"{SPEC}.evaluation.metrics.NAME.metric",
        "function",
        REQUIRED,
        EVALSPEC,
        "A function or a torchmetrics object. Returns a number or a dict of numbers to log, or None.",
    ),
    Key(
        f"{SPEC}.evaluation.metrics.NAME.compute_on",
        _one_of(COMPUTE_ON),
        "epoch_end",
        EVALSPEC,
        "Computes the metric once per epoch from all outputs, or batch by batch.",
    ),
    Key(
        f"{SPEC}.evaluation.metrics.NAME.kwargs",
        "dict",
        "{}",
        EVALSPEC,
        "Arguments, as paths such as `outputs.preds` into outputs, batch, trident_module, dataset_name or split.",
    ),
    Key("callbacks", "dict | None", "callbacks: default", ENGINE, "Callbacks by name."),
    Key(
        "callbacks.NAME",
        "dict | None",
        "none",
        ENGINE,
        "A callback, created by its `_target_`.",
    ),
    Key("logger", "dict | None", "logger: default", ENGINE, "Loggers by name."),
    Key("logger.NAME", "dict | None", "none", ENGINE, "A logger, created by its `_target_`."),
)


@cache
def below(path: str) -> dict[str, Key]:
    """The keys directly below `path`, by name; the top-level keys if it is empty."""
    return {
        key.name: key for key in KEYS if key.path == (f"{path}.{key.name}" if path else key.name)
    }


def key_at(path: str) -> Key | None:
    """The key at the path of a value, in which splits and names are those of the config."""
    parts = path.split(".")

    def matches(key: Key) -> bool:
        own = key.path.split(".")
        return len(own) == len(parts) and all(
            one in ("SPLIT", "NAME", other) for one, other in zip(own, parts, strict=True)
        )

    return next(filter(matches, KEYS), None)
