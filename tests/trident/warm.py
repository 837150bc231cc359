"""What every run needs before its own work, done once in the process from which `support.Forked` forks."""

from __future__ import annotations

import datasets  # noqa: F401
import safetensors.torch  # noqa: F401
import transformers.trainer_utils  # noqa: F401
from hydra import compose, initialize_config_module

import trident.cli.run
import trident.engine
import trident.launch.core.options  # noqa: F401

with initialize_config_module("trident.configs", version_base="1.3"):
    compose("config", return_hydra_config=True)  # finds the plugins, and makes the parser's tables
