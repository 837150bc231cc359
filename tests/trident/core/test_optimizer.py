from __future__ import annotations

import pytest
import torch
from torch import nn

from trident.core.module import TridentModule
from trident.core.optimizer import parameter_groups, warmup_steps
from trident.errors import ConfigError


@pytest.mark.parametrize(
    ("value", "steps"), [(0.1, 20), (0, 0), (1.0, 200), (1, 200), (2, 2), (100, 100), (0.25, 50)]
)
def test_a_fraction_or_a_number_of_steps(value, steps):
    assert warmup_steps(value, total=200) == steps


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_neither_is_refused(value):
    with pytest.raises(ConfigError, match=f"num_warmup_steps={value}"):
        warmup_steps(value, total=200)


class Module(TridentModule):
    num_training_steps = 200


def test_configuring_twice_is_configuring_once():
    config = {
        "_target_": "transformers.get_linear_schedule_with_warmup",
        "num_warmup_steps": 0.25,
    }
    optimizer = {"_target_": "torch.optim.AdamW", "lr": 1.0}
    module = Module(
        {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 2}, optimizer, config
    )
    rates = []
    for _ in range(2):
        configured = module.configure_optimizers()
        schedule = configured["lr_scheduler"]["scheduler"]
        rates.append([schedule.lr_lambdas[0](step) for step in (0, 25, 50, 125, 200)])
    assert rates == [[0, 0.5, 1, 0.5, 0]] * 2
    assert module.hparams["scheduler"] == config
    assert configured["lr_scheduler"]["interval"] == "step"


class RMSNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 3))


def test_norms_and_biases_do_not_decay_by_type_and_not_by_name():
    model = nn.ModuleDict(
        {
            "linear": nn.Linear(3, 3),
            "ln_1": nn.LayerNorm(3),
            "input_scale": RMSNorm(),
            "embedding": nn.Embedding(5, 3),
        }
    )
    decays, exempt = parameter_groups(model, 0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(p)] for p in decays["params"]} == {"linear.weight", "embedding.weight"}
    assert {names[id(p)] for p in exempt["params"]} == {
        "linear.bias",
        "ln_1.weight",
        "ln_1.bias",
        "input_scale.weight",
    }
    assert (decays["weight_decay"], exempt["weight_decay"]) == (0.1, 0.0)
