"""Hydra's errors, as a user sees them: without noise, and with the nearest valid name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, InterpolationKeyError

from trident.launch.errors import UsageError
from trident.launch.planning.explain import explained

GROUPS = {"": ["module"], "module": ["optimizer"], "module/optimizer": []}
OPTIONS = {"module": ["linear", "conv"], "module/optimizer": ["adam", "sgd"]}


class Loader:
    """A config loader of two groups."""

    def list_groups(self, parent: str) -> list[str]:
        return GROUPS[parent]

    def get_group_options(self, group: str, kind: object) -> list[str]:
        return OPTIONS[group]


class Hydra:
    """A session whose config has two keys; it refuses the overrides in `refused`."""

    def __init__(self, refused: Sequence[str] = ()) -> None:
        self.loader = Loader()
        self.refused = refused
        self.composed: list[list[str]] = []

    def compose(self, name: str | None, overrides: list[str]) -> Any:
        self.composed.append(overrides)
        if set(self.refused) & set(overrides):
            raise ConfigCompositionException("no")
        return OmegaConf.create({"module": {"width": 1}, "seed": 1})


def message(error: Exception, *overrides: str, hydra: Hydra | None = None) -> str:
    """What is printed for an error that Hydra raises."""
    with pytest.raises(UsageError) as caught, explained(hydra or Hydra(), "config", overrides):
        raise error
    return str(caught.value)


@pytest.mark.parametrize(
    ("error", "suggestion"),
    [
        (ConfigCompositionException("Could not find 'module/linaer'"), "linear"),
        (ConfigCompositionException("Could not find 'module/optimizer/adan'"), "adam"),
        (ConfigCompositionException("Could not override 'module.widht'."), "module.width"),
        (ConfigCompositionException("Could not override 'modul'."), "module"),
        (InterpolationKeyError("Interpolation key 'sed' not found"), "seed"),
        (
            ConfigAttributeError("Key 'widht' not in 'Module'\n full_key: module.widht"),
            "module.width",
        ),
    ],
)
def test_the_nearest_valid_name_is_suggested(error: Exception, suggestion: str) -> None:
    text = message(error)
    assert text.startswith(str(error).splitlines()[0])
    assert f"\nhint: did you mean `{suggestion}`" in text


def test_a_name_that_is_near_to_none_gets_no_hint() -> None:
    assert message(ConfigCompositionException("Could not find 'module/x'")) == (
        "Could not find 'module/x'"
    )


def test_keys_are_those_of_the_options_that_the_command_line_chooses() -> None:
    error = ConfigCompositionException("Could not override 'module.widht'.")
    hydra = Hydra()
    message(error, "module=conv", "module.widht=2", "module/optimizer=adam,sgd", hydra=hydra)
    assert hydra.composed == [["module=conv", "hydra/launcher=trident_local"]]


def test_keys_are_suggested_even_if_the_chosen_options_are_wrong() -> None:
    hydra = Hydra(refused=["module=cnv"])
    error = ConfigCompositionException("Could not override 'module.widht'.")
    assert "did you mean `module.width`" in message(error, "module=cnv", hydra=hydra)


def test_the_cause_is_shown_and_noise_is_not() -> None:
    error = HydraException("Error merging override x=a\n  object_type=None")
    error.__cause__ = ValueError("Value 'a' is no number\n\n    reference_type=int")
    assert message(error) == "Error merging override x=a\nValue 'a' is no number"
    error.__cause__ = ValueError("merging override x=a")
    assert message(error) == "Error merging override x=a", "it is not said twice"


def test_a_value_that_hydra_cannot_use_is_a_usage_error() -> None:
    assert message(ValueError("range() step must not be zero")) == "range() step must not be zero"


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), explained(Hydra(), "config", ()):
        raise KeyError("a defect of ours")


TYPE = "Value 'two' of type 'str' could not be converted to Integer\n    full_key: hydra.launcher."


@pytest.mark.parametrize(
    ("first", "where"),
    [
        (
            "Error merging override hydra.launcher.tasks_per_node=two",
            " (the override hydra.launcher.tasks_per_node=two)",
        ),
        (
            "In 'hydra/launcher/mine': ValidationError raised while composing config:",
            " (hydra/launcher/mine.yaml)",
        ),
        ("", ""),
    ],
)
def test_an_option_of_the_launcher_of_a_wrong_type_is_described(first: str, where: str) -> None:
    text = message(ConfigCompositionException(f"{first}\n{TYPE}tasks_per_node"))
    wrong = "hydra.launcher.tasks_per_node: 'two' is not a whole number or null"
    assert text.startswith(f"{wrong}{where}\nhint: Ranks of a member per node")


def test_the_unit_of_an_option_is_named_and_unknown_ones_are_left_to_hydra() -> None:
    text = message(ConfigCompositionException(f"{TYPE}timeout_min"))
    assert "'two' is not a number or null, in minutes\n" in text
    assert "hint" not in message(ConfigCompositionException(f"{TYPE}zzz"))
    error = "Error merging override hydra.launcher.env=[1]\nCannot merge DictConfig with ListConfig"
    text = message(ConfigCompositionException(f"{error}\n    full_key: hydra.launcher.env"))
    assert text.startswith("hydra.launcher.env: '[1]' is not a mapping (the override")


def test_an_option_that_only_slurm_has_is_named_as_such() -> None:
    error = "Key 'qos' not in 'TridentLocalConf'\n    full_key: hydra.launcher.qos"
    assert "hint: hydra/launcher=trident_slurm has it" in message(ConfigCompositionException(error))
