"""Every key of a config that trident itself reads: the single table that checks and docs follow."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COMPUTE_ON", "KEYS", "MODES", "SHARDING", "SPEC", "UNEVEN", "Key", "below"]

SPEC = "datamodule.SPLIT.NAME"
"""The path of a dataspec."""

SHARDING = ("auto", "manual")
MODES = ("max_size_cycle", "min_size", "max_size", "sequential")
UNEVEN = ("join", "pad", "drop")
COMPUTE_ON = ("epoch_end", "eval_step")


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the config.

    Attributes:
        path: in it, ``SPLIT`` and ``NAME`` stand for a split and a name that the user chooses.
        type: the values that it takes, in words.
        default: as it is written in YAML, or where it comes from.
        read_in: the file that reads it, relative to the repository.
        about: one sentence on what it does.
    """

    path: str
    type: str
    default: str
    read_in: str
    about: str


def _one_of(values: tuple[str, ...]) -> str:
    """``a, b or c``."""
    return f"{', '.join(values[:-1])} or {values[-1]}"


ENGINE, RUN, MODULE = "trident/engine.py", "trident/cli/run.py", "trident/core/module.py"
OPTIMIZER, DATAMODULE = "trident/core/optimizer.py", "trident/core/datamodule.py"
DATASPEC, EVALSPEC = "trident/core/dataspec.py", "trident/core/evalspec.py"
EVALUATION, SCHEMA = "trident/core/evaluation.py", "trident/config/schema.py"

KEYS = (
    Key(
        "run",
        "mapping",
        "{}",
        ENGINE,
        "Settings of the run, and your own variables. Loggers record all of them.",
    ),
    Key(
        "run.seed", "int or null", "42", ENGINE, "Seeds all random numbers, also the order of data."
    ),
    Key(
        "run.ckpt_path",
        "path or null",
        "null",
        ENGINE,
        "A checkpoint to resume from. If nothing is trained, this checkpoint is tested.",
    ),
    Key(
        "run.optimized_metric",
        "metric's name or null",
        "null",
        ENGINE,
        "The metric that a run returns, at the tested checkpoint if this metric selected it, else at the end.",
    ),
    Key(
        "run.resume_minutes",
        "number or null",
        "10",
        ENGINE,
        "Minutes between two checkpoints to resume from, for members of a sweep.",
    ),
    Key(
        "run.resume_steps",
        "int or null",
        "null",
        ENGINE,
        "Optimizer steps between two checkpoints to resume from, in addition to those by time.",
    ),
    Key("print_config", "bool", "true", RUN, "Prints the composed config when a run begins."),
    Key("ignore_warnings", "bool", "false", RUN, "Silences Python's warnings."),
    Key("trainer", "mapping", "trainer: default", ENGINE, "The arguments of Lightning's Trainer."),
    Key(
        "trainer.limit_train_batches",
        "int, float or null",
        "1.0",
        ENGINE,
        "A number or a fraction of batches. 0 skips training.",
    ),
    Key(
        "trainer.limit_test_batches",
        "int, float or null",
        "1.0",
        ENGINE,
        "The same for the test. 0 skips it.",
    ),
    Key(
        "trainer.limit_predict_batches",
        "int, float or null",
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
        "path",
        "the run's directory",
        ENGINE,
        "The directory for predictions and Lightning's own files.",
    ),
    Key("module", "mapping", "module: default", ENGINE, "The LightningModule and its arguments."),
    Key("module.model", "mapping", "???", MODULE, "The model, created by its `_target_`."),
    Key(
        "module.optimizer",
        "mapping",
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
        "mapping or null",
        "linear_warm_up",
        OPTIMIZER,
        "A schedule that steps after each optimizer step, or Lightning's dict with `scheduler` inside.",
    ),
    Key(
        "module.scheduler.num_warmup_steps",
        "float to 1, or int above",
        "0.1",
        OPTIMIZER,
        "A fraction of all steps, or a number of steps.",
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
        "mapping",
        "none",
        SCHEMA,
        "Not read by the module. Data sets can refer to it as `${module.evaluation}`.",
    ),
    Key("datamodule", "mapping", "datamodule: default", ENGINE, "All data sets."),
    Key(
        "datamodule.train", "mapping or null", "null", DATAMODULE, "Data sets to train on, by name."
    ),
    Key(
        "datamodule.val",
        "mapping or null",
        "null",
        DATAMODULE,
        "Data sets to evaluate during training, by name.",
    ),
    Key(
        "datamodule.test",
        "mapping or null",
        "null",
        DATAMODULE,
        "Data sets to evaluate after training, by name.",
    ),
    Key(
        "datamodule.predict",
        "mapping or null",
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
        "mapping",
        "required",
        DATASPEC,
        "The data set, created by its `_target_`.",
    ),
    Key(
        f"{SPEC}.preprocessing",
        "mapping or null",
        "none",
        DATASPEC,
        "Steps, in the order in which they are written.",
    ),
    Key(
        f"{SPEC}.preprocessing.method",
        "mapping of steps",
        "none",
        DATASPEC,
        "Methods of the data set, with their arguments. null leaves a step out.",
    ),
    Key(
        f"{SPEC}.preprocessing.apply",
        "mapping of steps",
        "none",
        DATASPEC,
        "Functions, by `_target_`, that take the data set. The last one may create a sampler.",
    ),
    Key(
        f"{SPEC}.dataloader",
        "mapping",
        "required",
        DATASPEC,
        "The dataloader, created by its `_target_`. `batch_size` is per rank.",
    ),
    Key(
        f"{SPEC}.evaluation",
        "mapping or null",
        "none",
        DATASPEC,
        "How the model's outputs are processed and evaluated.",
    ),
    Key(f"{SPEC}.misc", "any", "none", DATASPEC, "Your own values. trident does not read them."),
    Key(
        f"{SPEC}.evaluation.prepare",
        "mapping or null",
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
        "mapping or null",
        "all outputs and batches",
        EVALSPEC,
        "The values of each batch to keep.",
    ),
    Key(
        f"{SPEC}.evaluation.step_outputs.outputs",
        "key, glob or list",
        "none",
        EVALUATION,
        "The keys of the model's outputs to keep.",
    ),
    Key(
        f"{SPEC}.evaluation.step_outputs.batch",
        "key, glob or list",
        "none",
        EVALUATION,
        "The keys of the batch to keep.",
    ),
    Key(
        f"{SPEC}.evaluation.metrics",
        "mapping by name",
        "none",
        EVALSPEC,
        "Metrics, logged as `{data set}/{split}/{metric}`.",
    ),
    Key(
        f"{SPEC}.evaluation.metrics.NAME.metric",
        "function or torchmetrics object",
        "required",
        EVALSPEC,
        "Returns a number or a dict of numbers to log, or None.",
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
        "mapping to paths",
        "{}",
        EVALSPEC,
        "Arguments, as paths such as `outputs.preds` into outputs, batch, trident_module, dataset_name or split.",
    ),
    Key("callbacks", "mapping or null", "callbacks: default", ENGINE, "Callbacks by name."),
    Key(
        "callbacks.NAME",
        "mapping or null",
        "none",
        ENGINE,
        "A callback, created by its `_target_`.",
    ),
    Key("logger", "mapping or null", "logger: default", ENGINE, "Loggers by name."),
    Key("logger.NAME", "mapping or null", "none", ENGINE, "A logger, created by its `_target_`."),
)


def below(path: str) -> tuple[str, ...]:
    """The keys directly below `path`; the top-level keys if it is empty."""
    prefix = f"{path}." if path else ""
    rest = (key.path.removeprefix(prefix) for key in KEYS if key.path.startswith(prefix))
    return tuple(key for key in rest if "." not in key)
