"""What happens to a model's outputs, in a trainer that evaluates on this process."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
from small import spec

from trident.core.datamodule import TridentDataModule
from trident.core.module import TridentModule
from trident.errors import ConfigError

# Lightning's own: with this version of torch, and where SLURM's programs are installed.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The `srun` command is available"),
    pytest.mark.filterwarnings("ignore:Total length of `DataLoader` across ranks is zero"),
]


def evaluated(size: int, **evaluation: Any) -> dict[str, float]:
    module = TridentModule({"_target_": "small.Model"}, {"_target_": "torch.optim.SGD", "lr": 1.0})
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    datamodule = TridentDataModule(test={"toy": {**spec(size), "evaluation": evaluation}})
    trainer.test(module, datamodule, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def mean_of(path: str, compute_on: str) -> dict[str, Any]:
    metric = {"_target_": "small.mean", "_partial_": True}
    return {"metric": metric, "kwargs": {"preds": path}, "compute_on": compute_on}


@pytest.mark.parametrize("compute_on", ["epoch_end", "eval_step"])
def test_a_mean_counts_each_sample_once_whatever_the_batches(compute_on: str) -> None:
    metrics = evaluated(
        5,
        step_outputs={"outputs": ["preds"]},
        metrics={"mean": mean_of("outputs.preds", compute_on)},
    )
    assert metrics == {"toy/test/mean": pytest.approx(2 * sum(range(5)) / 5)}


def test_a_data_set_without_samples_has_no_metrics() -> None:
    metric = mean_of("outputs.preds", "epoch_end")
    assert evaluated(0, step_outputs={"outputs": ["preds"]}, metrics={"mean": metric}) == {}


def test_an_argument_that_is_at_no_path_names_what_is_there() -> None:
    with pytest.raises(ConfigError, match=r"`preds: outputs.pred`: no such value"):
        evaluated(3, metrics={"mean": mean_of("outputs.pred", "eval_step")})
