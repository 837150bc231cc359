"""A module of a config, without a trainer."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn

from trident.core.module import TridentModule

MODEL = {"_target_": "small.Model"}
OPTIMIZER = {"_target_": "torch.optim.SGD", "lr": 0.5}


def test_the_model_is_made_of_its_config_unless_a_subclass_makes_it() -> None:
    assert TridentModule(MODEL, OPTIMIZER).model.scale.item() == 2

    class Own(TridentModule):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs, initialize_model=False)
            self.model = nn.Linear(1, 1)

    own = Own(model=MODEL, optimizer=OPTIMIZER)
    assert isinstance(own.model, nn.Linear) and own.hparams["model"] == MODEL


def test_a_batch_is_the_models_keyword_arguments() -> None:
    module = TridentModule(MODEL, OPTIMIZER)
    outputs = module({"x": torch.tensor([1.0, 3.0]), "id": torch.tensor([0, 1])})
    assert outputs["preds"].tolist() == [2, 6] and outputs["loss"].item() == 4


def test_checkpoints_hold_hyperparameters_as_plain_containers() -> None:
    module = TridentModule(OmegaConf.create(MODEL), OmegaConf.create(OPTIMIZER))
    checkpoint = {"hyper_parameters": dict(module.hparams)}
    module.on_save_checkpoint(checkpoint)
    held = checkpoint["hyper_parameters"]
    assert held["model"] == MODEL and type(held["model"]) is dict
    assert held["optimizer"] == OPTIMIZER and type(held["optimizer"]) is dict


def test_what_from_pretrained_switched_off_is_trained_unless_it_is_frozen() -> None:
    class Pretrained(nn.Linear):
        @classmethod
        def from_pretrained(cls) -> Pretrained:
            return cls(1, 1).eval()

    module = TridentModule(MODEL, OPTIMIZER)
    module.trained = Pretrained.from_pretrained()
    module.frozen = Pretrained.from_pretrained().requires_grad_(False)
    module.on_fit_start()
    assert module.trained.training and not module.frozen.training
