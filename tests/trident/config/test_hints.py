"""The nearest valid name for what Hydra did not find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from trident.config.hints import hint


class Loader:
    """A config loader of one group."""

    def list_groups(self, parent: str) -> list[str]:
        return [] if parent else ["trainer"]

    def get_group_options(self, group: str, kind: object) -> list[str]:
        return ["cpu", "gpu"] if group else ["config", "other"]


def compose(choices: Sequence[str]) -> Any:
    if choices == ["trainer=no"]:
        raise ConfigCompositionException
    return OmegaConf.create({"trainer": {"max_epochs": 1}, "run": {"seed": 1}})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Could not find 'trainer/cpuu'", "cpu"),
        ("Cannot find primary config 'confg'.", "config"),
        ("Could not override 'run.sed'.", "run.seed"),
        ("Could not override 'trainr'.", "trainer"),
        ("Interpolation key 'run.sed' not found", "run.seed"),
        ("Key 'max_epoch' is not in struct\n    full_key: trainer.max_epoch", "trainer.max_epochs"),
    ],
)
def test_the_nearest_name_is_suggested_once(text: str, name: str) -> None:
    for overrides in ([], ["trainer=no"], ["trainer=cpu,gpu"]):
        assert hint(text, Loader(), compose, overrides) == f"\nhint: did you mean `{name}`?"


@pytest.mark.parametrize(
    "text",
    [
        "Could not override 'trainer'. No match in the defaults list.",
        "mismatched input",
        "",
        # keys that are right: one that the config lacks, and one whose value is of another type
        "Could not override 'run.resume_steps'.\nKey 'resume_steps' is not in struct",
        "Value 'x' of type 'str' could not be converted to Integer\n    full_key: run.seedd",
    ],
)
def test_a_hint_never_repeats_what_was_typed(text: str) -> None:
    assert hint(text, Loader(), compose, []) == ""
