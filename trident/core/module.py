"""The module that a config describes: a model, its optimizer and schedule, and its steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from trident.core.evaluation import EvalMixin
from trident.core.optimizer import OptimizerMixin
from trident.core.safe_globals import allow_configs
from trident.trainer.internals.lightning import attached_trainer
from trident.trainer.steps import monitored
from trident.trainer.strategies import require_sharded, shard
from trident.utils.access import plain_config
from trident.utils.enums import Split

__all__ = ["TridentModule"]

Config = DictConfig | Mapping[str, Any]

allow_configs()  # here, for `load_from_checkpoint` outside of a run as well


class TridentModule(OptimizerMixin, EvalMixin):
    """A model that trains and is evaluated by config.

    A batch is what the dataloader's ``collate_fn`` makes: a mapping of tensors, first dimension
    samples (``input_ids``: ``(batch, length)`` of integers), or ``{name: batch}`` where several
    data sets train at once.

    Args:
        model: the model's config; an object of it is ``self.model``.
        optimizer: the optimizer's config; it gets the parameters.
        scheduler: the config of a learning rate schedule, or of Lightning's dict around one; None
            for none.
        initialize_model: False for subclasses that make ``self.model`` themselves.
    """

    def __init__(
        self,
        model: Config,
        optimizer: Config,
        scheduler: Config | None = None,
        initialize_model: bool = True,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        # Lightning collects the arguments of subclasses, too. What loggers record is the whole
        # run's config.
        self.save_hyperparameters(logger=False)
        if initialize_model:
            self.model = instantiate(self.hparams["model"])
            _train_pretrained(self.model)

    def configure_model(self) -> None:
        """Shard the model over the ranks if the strategy is FSDP; otherwise leave it as it is.

        Raises:
            ConfigError: there are parameters outside of ``self.model``, whose gradients would not be
                shared between ranks.
        """
        if (mesh := self.device_mesh) is not None:
            shard(self.model, mesh["data_parallel"])
            require_sharded(self)

    def forward(self, batch: Mapping[str, Any]) -> Any:
        """The model's outputs for a batch, whose items are the model's keyword arguments.

        Override this for models that take something else. Outputs that evaluation reads by name
        (``logits``: ``(batch, …)``, first dimension samples) must be keys or attributes.
        """
        return self.model(**batch)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Logs ``train/loss``; returns the model's outputs, which hold ``loss``, a scalar: the mean
        over the batch, as the gradients of ranks are averaged.

        Override this for a custom loss, and for batches of several data sets.
        """
        outputs = self(batch)
        # Logged per rank, unless something monitors it: that requires a collective in each step.
        trainer = attached_trainer(self)  # None if a step is called without a trainer
        sync = bool(trainer and trainer.world_size > 1 and "train/loss" in monitored(trainer))
        self.log("train/loss", outputs["loss"], sync_dist=sync)
        return outputs

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Do not override this: the dataspec's ``evaluation`` decides what is evaluated."""
        self.eval_step(Split.VAL, batch, dataloader_idx, batch_idx)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Do not override this: the dataspec's ``evaluation`` decides what is evaluated."""
        self.eval_step(Split.TEST, batch, dataloader_idx, batch_idx)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Do not override this: the dataspec's ``evaluation`` decides what is predicted."""
        self.eval_step(Split.PREDICT, batch, dataloader_idx, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Logs the metrics ``{dataset}/val/{metric}``; a subclass that overrides this must call it."""
        self.on_eval_epoch_end(Split.VAL)

    def on_test_epoch_end(self) -> None:
        """Logs the metrics ``{dataset}/test/{metric}``; a subclass that overrides this must call it."""
        self.on_eval_epoch_end(Split.TEST)

    def on_predict_epoch_end(self) -> None:
        """Writes ``predictions/{dataset}.jsonl``; a subclass that overrides this must call it."""
        self.write_predictions()

    def on_fit_start(self) -> None:
        """Switch to training mode what `from_pretrained` left in evaluation mode."""
        _train_pretrained(self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save hyperparameters as plain containers, the only ones that torch reads safely."""
        key = self.CHECKPOINT_HYPER_PARAMS_KEY
        checkpoint[key] = {
            name: plain_config(value) for name, value in checkpoint.get(key, {}).items()
        }


def _train_pretrained(module: nn.Module) -> None:
    """Switch on what `from_pretrained` switched off, mainly dropout; modules that are frozen as a
    whole stay as they are.

    Lightning leaves every module in the mode in which it finds it.
    """
    for submodule in module.modules():
        pretrained = hasattr(type(submodule), "from_pretrained") and not submodule.training
        if pretrained and any(parameter.requires_grad for parameter in submodule.parameters()):
            submodule.train()
