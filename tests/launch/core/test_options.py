"""The declarations of the launchers' options: complete, described, and what Hydra composes."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf, SlurmQueueConf
from hydra_plugins.trident.launchers import TridentLocalConf, TridentSlurmConf
from omegaconf import OmegaConf
from omegaconf.errors import ValidationError

from trident.launch.core.options import LocalOptions, SlurmOptions, option_keys, refused


@pytest.mark.parametrize("options", [LocalOptions, SlurmOptions])
def test_every_option_is_described_or_refused(options: type[LocalOptions | SlurmOptions]) -> None:
    keys = option_keys(options)
    assert {*keys, *refused()} == {field.name for field in fields(options)}
    for key in keys.values():
        assert key.about.endswith(".") and key.accepts is not None
        assert key.default or key.name == "name"


@pytest.mark.parametrize(
    ("theirs", "ours"), [(LocalQueueConf, TridentLocalConf), (SlurmQueueConf, TridentSlurmConf)]
)
def test_every_option_of_hydra_submitit_launcher_is_known(theirs: type, ours: type) -> None:
    """A project changes the launcher's name and keeps its options."""
    assert {field.name for field in fields(theirs)} <= {field.name for field in fields(ours)}


@pytest.mark.parametrize(
    ("option", "right", "wrong"),
    [
        ("tasks_per_node", [2, None], ["two", 1.5]),
        ("gpus_per_node", [4, "a100:4", None], [[1]]),
        ("timeout_min", [0.5, 60, None], ["soon"]),
        ("snapshot", [True], ["maybe"]),
        ("env", [{"A": "1"}], [[1]]),
    ],
)
def test_hydra_checks_types(option: str, right: list[object], wrong: list[object]) -> None:
    config = OmegaConf.structured(TridentSlurmConf)
    for value in right:
        config[option] = value
    for value in wrong:
        with pytest.raises(ValidationError):
            config[option] = value


def test_defaults_are_in_yaml() -> None:
    keys = option_keys(SlurmOptions)
    assert [keys[name].default for name in ("nodes", "setup", "snapshot", "env")] == [
        "1", "null", "true", "{}",
    ]  # fmt: skip
    assert keys["timeout_min"].unit == "minutes"
    assert option_keys(LocalOptions)["timeout_min"].default == "null"
