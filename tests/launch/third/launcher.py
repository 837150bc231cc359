"""Hydra's view of the third scheduler: its options, and the launcher class that names it."""

from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from hydra_plugins.trident.launchers import SweepLauncher, TridentLocalConf


class ThirdLauncher(SweepLauncher):
    launcher = "third"


@dataclass
class ThirdConf(TridentLocalConf):
    _target_: str = "hydra_plugins.third.launcher.ThirdLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="third", node=ThirdConf)
