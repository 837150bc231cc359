"""``hydra/sweeper=trident_plan``, by which an app plans a sweep for ``trident-sweep submit --app`` and runs nothing."""

from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class TridentPlanSweeper(Sweeper):
    """Writes to a file which members the sweep has; see `trident.launch.planning.app`."""

    def __init__(self, **options: Any) -> None:
        self.config: DictConfig | None = None
        self.context: HydraContext | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.config, self.context = config, hydra_context

    def sweep(self, arguments: list[str]) -> None:
        # Hydra executes this file on every start: keep it light.
        from trident.launch.planning import app

        assert self.config is not None and self.context is not None
        app.write_plan(self.config, self.context.config_loader)


# No schemas: a project's configs may set options of the launcher and the sweeper that they choose. The sweeper does not
# create the objects among them.
for group, node in (
    ("hydra/launcher", {}),
    (
        "hydra/sweeper",
        {"_target_": "hydra_plugins.trident.planning.TridentPlanSweeper", "_recursive_": False},
    ),
):
    ConfigStore.instance().store(group=group, name="trident_plan", node=node, provider="trident")
