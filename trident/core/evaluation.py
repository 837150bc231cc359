"""What happens to a model's outputs in validation and test: hooks, collected outputs, metrics.

Metrics do not depend on the number of processes. Those of ``compute_on: epoch_end`` are computed on
rank 0 from the outputs of all ranks in the data set's order, by the code that a single process
runs, and their values are sent to all ranks. Those of ``compute_on: eval_step`` see one batch at a
time: a torchmetrics object accumulates over all batches and ranks by its own rules; a function's
values are averaged over samples, so it must be a mean over samples itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightning import LightningModule
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from trident.config.schema import METRIC_SOURCES
from trident.core.evalspec import Evaluation, MetricSpec, chosen, resolve, root_of
from trident.core.metrics import StepMetric, scalars
from trident.data.batches import batch_size
from trident.distributed.collectives import all_gather, broadcast, gather
from trident.errors import ConfigError
from trident.output.predictions import per_sample, write_predictions
from trident.trainer.internals.torchmetrics import without_gathering
from trident.utils.enums import Split
from trident.utils.logging import get_logger
from trident.utils.transform import flatten_dict

__all__ = ["EvalMixin", "Evaluation"]

log = get_logger(__name__)

StepOutput = dict[str, Any]


class EvalMixin(LightningModule):
    """Evaluation of one or several data sets per split, each by its dataspec's ``evaluation``.

    Attributes:
        predictions: the files that prediction has written, by name of the data set.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.predictions: dict[str, Path] = {}
        self._eval_outputs: dict[str, list[StepOutput]] = {}
        self._step_metrics: dict[tuple[str, str], StepMetric] = {}
        self._warned: set[str] = set()

    def eval_step(
        self, split: Split, batch: Any, dataloader_idx: int = 0, batch_idx: int | None = None
    ) -> None:
        """One batch of the data set at `dataloader_idx` through model, hooks and metrics.

        Call this equally often on all ranks: the model's forward may be a collective.

        Args:
            split: the split that is evaluated.
            batch: as the dataloader makes it, first dimension samples.
            dataloader_idx: the data set's place in the order of declaration.
            batch_idx: its place in this rank's part; None counts every batch as a real one.

        Raises:
            ConfigError: the path of a metric's argument does not exist, or its value is not a number.
        """
        name, dataspec = self._get_datasetspec(split, dataloader_idx)
        evaluation = dataspec.evaluation or Evaluation()
        datamodule = self._trident_datamodule
        filler = batch_idx is not None and datamodule.is_filler(split, name, batch_idx)
        context = {"trident_module": self, "split": split, "dataset_name": name}
        batch = _prepared(evaluation, "batch", batch, **context)
        outputs = self(batch)  # on fillers, too: forward may be a collective of all ranks
        if filler and not datamodule.is_empty(split, name):
            return
        outputs = _prepared(evaluation, "outputs", outputs, batch=batch, **context)
        if split is Split.PREDICT:
            if not filler:
                self._keep(name, self._predicted(outputs, batch, evaluation))
            return
        size = datamodule.samples_in(split, name, batch_idx) or batch_size(batch)
        for key, spec in evaluation.at("eval_step").items():
            if (name, key) not in self._step_metrics:
                self._step_metrics[name, key] = StepMetric(spec.metric)
            kwargs = self.prepare_metric_input(spec.kwargs, outputs, split, batch, name)
            self._step_metrics[name, key].update(
                kwargs, size=size, device=self.device, filler=filler
            )
        if evaluation.collects and not filler:
            kept = self._collect_step_output(outputs, batch, evaluation.step_outputs)
            self._keep(name, _without_unread(kept, evaluation.read))

    def _keep(self, name: str, step: StepOutput) -> None:
        self._eval_outputs.setdefault(name, []).append(_to_cpu(step))

    def _predicted(self, outputs: Any, batch: Any, evaluation: Evaluation) -> StepOutput:
        """The values of a step to write: those that `step_outputs` chooses, or all values per sample."""
        if evaluation.step_outputs is None:
            return per_sample(outputs, batch_size(batch))
        return self._collect_step_output(outputs, batch, evaluation.step_outputs)

    def write_predictions(self) -> None:
        """Write each predicted data set to ``predictions/NAME.jsonl`` in the trainer's root."""
        directory = Path(self.trainer.default_root_dir) / "predictions"
        try:
            for name, dataspec in self._trident_datamodule[Split.PREDICT].items():
                gathered = gather(self._eval_outputs.pop(name, []))  # None on ranks above 0
                evaluation = dataspec.evaluation or Evaluation()
                path = directory / f"{name}.jsonl"
                write = partial(self._write, path, gathered or [], evaluation, name)
                if broadcast(write):
                    self.predictions[name] = path
        finally:
            self._eval_outputs.clear()

    def _write(
        self, path: Path, parts: list[list[StepOutput]], evaluation: Evaluation, name: str
    ) -> bool:
        """Runs on rank 0; False when there is nothing to write."""
        steps = self._trident_datamodule.in_order(Split.PREDICT, name, parts)
        if not steps:
            log.warning(f"{name}/predict has no samples: no file is written")
            return False
        write_predictions(path, self._epoch_outputs(Split.PREDICT, steps, evaluation, name))
        return True

    def on_eval_epoch_end(self, split: Split) -> None:
        """Compute and log the metrics of all data sets of `split`; drop what was collected."""
        try:
            for name, dataspec in self._trident_datamodule[split].items():
                if dataspec.evaluation is not None:
                    outputs = self._eval_outputs.pop(name, [])
                    self._evaluate_metrics_for_dataset(split, outputs, dataspec.evaluation, name)
        finally:
            self._eval_outputs.clear()
            self._step_metrics.clear()

    def _evaluate_metrics_for_dataset(
        self,
        split: Split,
        step_outputs: list[StepOutput],
        evaluation: Evaluation,
        dataset_name: str,
    ) -> None:
        if evaluation.collects:
            gathered = gather(step_outputs)  # None on ranks above 0
            values = broadcast(
                lambda: self._epoch_end(split, gathered or [], evaluation, dataset_name)
            )
        else:
            values = {}
        for name, spec in evaluation.metrics.items():
            if spec.compute_on == "eval_step":
                values[name] = self._over_steps(dataset_name, name, spec)
            self.log_metric(split, name, values.get(name), dataset_name=dataset_name)

    def _over_steps(self, dataset_name: str, name: str, spec: MetricSpec) -> Any:
        """The value of a metric with ``compute_on: eval_step``; None if no rank had any step."""
        metric = self._step_metrics.get((dataset_name, name))
        if not any(all_gather(metric is not None)):
            return None
        return (metric or StepMetric(spec.metric)).compute(self.device)

    def _epoch_end(
        self, split: Split, parts: list[list[StepOutput]], evaluation: Evaluation, dataset_name: str
    ) -> dict[str, Any]:
        """The values of metrics with ``compute_on: epoch_end``, from the steps of all ranks. Runs on rank 0."""
        steps = self._trident_datamodule.in_order(split, dataset_name, parts)
        if not steps:
            log.warning(f"{dataset_name}/{split.value} has no samples: its metrics are left out")
            return {}
        self._warn_of_means(dataset_name, steps, evaluation)
        values = {}
        with without_gathering():
            outputs = self._epoch_outputs(split, steps, evaluation, dataset_name)
            for name, spec in evaluation.at("epoch_end").items():
                kwargs = self.prepare_metric_input(spec.kwargs, outputs, split, None, dataset_name)
                values[name] = scalars(name, spec.metric(**kwargs))
                if callable(reset := getattr(spec.metric, "reset", None)):
                    reset()  # a torchmetrics object, which must not keep the last epoch's state
        return values

    def _warn_of_means(
        self, dataset_name: str, steps: Sequence[Any], evaluation: Evaluation
    ) -> None:
        """Warn of outputs with one value per batch: a metric of these depends on how samples are batched."""
        first = steps[0] if isinstance(steps[0], Mapping) else {}
        for key in evaluation.named - self._warned:
            if isinstance(value := first.get(key), Tensor) and not value.dim():
                self._warned.add(key)
                log.warning(
                    f"{dataset_name}: {key} is one value per batch, and that of a short batch weighs as much as that "
                    "of a full one: a metric computed from it depends on the number of ranks\n"
                    f"hint: `compute_on: eval_step` with `outputs.{key}` averages over samples"
                )

    def _epoch_outputs(
        self, split: Split, steps: list[StepOutput], evaluation: Evaluation, dataset_name: str
    ) -> Any:
        """The outputs of all steps, joined and prepared as the config says."""
        flat = evaluation.prepare.get("flatten_outputs", True)
        outputs = flatten_dict(steps) if flat else steps
        context = {"trident_module": self, "split": split, "dataset_name": dataset_name}
        return _prepared(evaluation, "step_outputs", outputs, **context)

    def log_metric(
        self,
        split: Split,
        metric_key: str,
        input: Any,
        log_kwargs: Mapping[str, Any] | None = None,
        dataset_name: str | None = None,
    ) -> None:
        """Log a value as ``{dataset}/{split}/{metric}``, or each of a dict's as
        ``{dataset}/{split}/{key}``.

        Call this on all ranks with the same value. None logs nothing.
        """
        values = scalars(metric_key, input)
        if values is None:
            return
        prefix = f"{dataset_name}/{split.value}" if dataset_name else split.value
        named = values if isinstance(values, dict) else {metric_key: values}
        for key, value in named.items():
            self._log_value(f"{prefix}/{key}", value, **(log_kwargs or {}))

    def _log_value(self, name: str, value: float, **kwargs: Any) -> None:
        defaults = {"prog_bar": True, "add_dataloader_idx": False, "batch_size": 1}
        with warnings.catch_warnings():
            # Lightning cannot know that all ranks log the same value.
            warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
            self.log(name, value, **{**defaults, **kwargs})

    def prepare_metric_input(
        self,
        cfg: Mapping[str, str],
        outputs: Any,
        split: Split,
        batch: Any = None,
        dataset_name: str | None = None,
    ) -> dict[str, Any]:
        """The keyword arguments of a metric: each value of `cfg` is a source and a dotted path into
        it.

        Raises:
            ConfigError: the source is not known, or nothing is at the path.
        """
        sources = dict.fromkeys(METRIC_SOURCES)
        sources |= {"trident_module": self, "outputs": outputs, "batch": batch, "cfg": cfg}
        sources |= {"dataset_name": dataset_name, "split": split}
        return {key: resolve(key, path, sources) for key, path in cfg.items()}

    @staticmethod
    def _collect_step_output(
        outputs: Any, batch: Any, split_dico: Mapping[str, Sequence[str]] | None = None
    ) -> StepOutput:
        """The values of a step to keep: the chosen keys of outputs and batch in one dict, or both whole."""
        if split_dico is None:
            return {"outputs": outputs, "batch": batch}
        kept: StepOutput = {}
        for source, patterns in split_dico.items():
            values = outputs if source == "outputs" else batch
            for pattern in patterns:
                kept.update(chosen(source, values, pattern))
        return kept

    def _get_datasetspec(self, split: Split, dataloader_idx: int) -> tuple[str, Any]:
        specs = self._trident_datamodule[split]
        return list(specs)[dataloader_idx], specs[dataloader_idx]

    @property
    def _trident_datamodule(self) -> Any:
        datamodule = getattr(self.trainer, "datamodule", None)
        if datamodule is None:
            raise ConfigError(
                "a TridentModule evaluates the data sets of a TridentDataModule, and the trainer has none"
            )
        return datamodule


def _prepared(evaluation: Evaluation, key: str, value: Any, **context: Any) -> Any:
    hook = evaluation.prepare.get(key)
    return hook(**{key: value}, **context) if callable(hook) else value


def _without_unread(kept: StepOutput, keys: frozenset[str] | None) -> StepOutput:
    """Drop values that no metric reads, so that they take no memory and are not gathered.

    If a metric reads a key that does not exist, everything is kept, so that its error can list the keys that do.
    """
    if keys is None or not keys <= {root_of(key) for key in kept}:
        return kept
    return {key: value for key, value in kept.items() if root_of(key) in keys}


def _to_cpu(value: Any) -> Any:
    return apply_to_collection(value, Tensor, lambda tensor: tensor.detach().cpu())
