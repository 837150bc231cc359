"""The names of Hydra that we import although its documentation does not promise them, in one place.

Seen in Hydra 1.3.2 and 1.3.8. Nothing from ``hydra._internal`` is used. Each name here has a test that fails, with
Hydra's version, as soon as a release renames it or changes what it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobRuntime
from hydra.version import VersionBase

__all__ = ["config_loader", "kept_state", "parse"]


@contextmanager
def kept_state() -> Iterator[None]:
    """Restore Hydra's process-wide state at the end of the block, whatever was composed inside.

    Hydra's own context managers restore `GlobalHydra` alone, refuse to start where it is set, as it is inside a
    running app, and leave three more singletons changed.
    """
    app, config = GlobalHydra.instance(), HydraConfig.instance()
    job, version = JobRuntime.instance(), VersionBase.instance()
    # GlobalHydra.hydra: the app that runs in this process, or None.
    # HydraConfig.cfg: what `${hydra:…}` is resolved against, or None; set_config() does not accept None.
    # JobRuntime "name": the default of hydra.job.name.
    # VersionBase.version_base: setbase() does not accept "never set", which getbase() returns.
    before = (app.hydra, config.cfg, job.get("name"), version.version_base)
    app.clear()
    try:
        yield
    finally:
        app.hydra, config.cfg, name, version.version_base = before
        job.set("name", name)
        # hydra.initialize_config_dir and its siblings replace the instance when they end.
        GlobalHydra.set_instance(app)


def config_loader() -> ConfigLoader:
    """The loader that lists groups and options (`list_groups`, `get_group_options`), while Hydra is initialized."""
    return GlobalHydra.instance().config_loader()


def parse(overrides: Sequence[str], loader: ConfigLoader) -> list[Override]:
    """Hydra's grammar: OverridesParser, which every sweeper plugin uses. `loader` is for ``glob(…)``."""
    return OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
