"""Compares the config that a member of a sweep has composed with the one that was planned."""

from __future__ import annotations

import logging
import os
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from trident.config.locate import locate
from trident.errors import ConfigError
from trident.protocol.member import PLANNED
from trident.protocol.planned import PlannedConfig, read_planned

__all__ = ["CompareWithPlan", "compare"]

log = logging.getLogger(__name__)

SHOWN = 10
"""Differences that a message lists."""


def compare(planned: PlannedConfig, config: DictConfig) -> None:
    """Compare a task's config; Hydra has set up its own.

    Raises:
        ConfigError: a value is not the planned one. The message lists key, both values, and where it comes from.
    """
    for name in planned.changed_variables(os.environ):
        log.warning(
            "the config reads the environment variable %s, which differs from the submission's",
            name,
        )
    container: Any = OmegaConf.to_container(config, resolve=False)
    choices = OmegaConf.to_container(HydraConfig.get().runtime.choices)
    assert isinstance(choices, dict)
    differences = list(planned.differences(container, {str(k): str(v) for k, v in choices.items()}))
    if not differences:
        return
    lines = [f"  {difference.text(locate(difference.key))}" for difference in differences[:SHOWN]]
    more = [f"  and {len(differences) - SHOWN} more"] if len(differences) > SHOWN else []
    raise ConfigError(
        "\n".join(
            [
                "this member's config is not the one that was submitted:",
                *lines,
                *more,
                "hint: restore the configs; `trident-sweep resume SWEEP --code current` takes them as they are now. "
                "Keys that always differ belong in hydra.launcher.may_differ",
            ]
        )
    )


class CompareWithPlan(Callback):
    """A callback of Hydra that ends an app before its task starts, if its config is not the planned one."""

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        planned = read_planned(os.environ.get(PLANNED, ""))
        if planned is None:
            return
        task = config.copy()
        with read_write(task), open_dict(task):
            del task["hydra"]
        try:
            compare(planned, task)
        except ConfigError as error:
            raise SystemExit(f"error: {error}") from None  # Hydra only warns of other exceptions
