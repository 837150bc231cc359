"""Hydra may change what its documentation does not promise: these tests say which name, and in which version."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import hydra
import pytest
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.core.utils import JobRuntime
from hydra.version import VersionBase, setbase

from trident.launch.planning import hydra_internals

LAUNCH = Path(__file__).parents[3] / "launch"


def app_attribute() -> bool:
    app = GlobalHydra.instance()
    return app.hydra is None and not app.is_initialized()


def replaced_instance() -> bool:
    app = GlobalHydra.instance()
    try:
        with hydra.initialize_config_module("trident.configs", version_base="1.3"):
            return isinstance(app.config_loader(), ConfigLoader)
    finally:
        GlobalHydra.set_instance(app)
        app.clear()


def config_attribute() -> bool:
    return (HydraConfig.instance().cfg is None) == (not HydraConfig.initialized())


def job_name() -> bool:
    with hydra_internals.kept_state():
        JobRuntime.instance().set("name", "other")
        return bool(JobRuntime.instance().get("name") == "other")


def version_attribute() -> bool:
    with hydra_internals.kept_state():
        setbase("1.2")
        return str(VersionBase.instance().version_base) == "1.2"


def parsed() -> bool:
    (found,) = OverridesParser.create(config_loader=None).parse_overrides(["+a/b@c=1,2"])
    return (found.key_or_group, found.get_key_element(), found.is_sweep_override()) == (
        "a/b",
        "+a/b@c",
        True,
    )


def written() -> bool:
    override = Override(OverrideType.CHANGE, "key", ValueType.ELEMENT, [1, {"a": None}])
    return override.get_value_element_as_str() == "[1,{a:null}]"


def groups() -> bool:
    with hydra_internals.kept_state():
        hydra.initialize_config_module("trident.configs", version_base="1.3")
        loader = hydra_internals.config_loader()
        return "trainer" in loader.list_groups("") and "default" in loader.get_group_options(
            "trainer", None, None, []
        )


NAMES: dict[str, Callable[[], bool]] = {
    "GlobalHydra.hydra": app_attribute,
    "GlobalHydra.set_instance, .config_loader": replaced_instance,
    "HydraConfig.cfg": config_attribute,
    "JobRuntime.get, .set": job_name,
    "VersionBase.version_base": version_attribute,
    "OverridesParser.create, .parse_overrides": parsed,
    "Override(type, key, value_type, value).get_value_element_as_str": written,
    "ConfigLoader.list_groups, .get_group_options": groups,
}


@pytest.mark.parametrize("name", NAMES)
def test_hydra_still_has_the_names_that_it_does_not_promise(name: str) -> None:
    message = f"Hydra {hydra.__version__} changed {name}: see launch/planning/hydra_internals.py"
    try:
        works = NAMES[name]()
    except (AttributeError, TypeError, AssertionError) as error:
        pytest.fail(f"{message} ({error})")
    assert works, message


def hydras(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The names that a module imports from Hydra, each with the module of Hydra that has it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.asname or a.name, a.name) for a in node.names if "hydra" in a.name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hydra":
            yield from ((a.asname or a.name, f"{node.module}.{a.name}") for a in node.names)


@pytest.mark.parametrize("path", sorted(LAUNCH.rglob("*.py")), ids=lambda path: path.name)
def test_the_launcher_uses_no_private_name_of_hydra(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = dict(hydras(tree))
    assert not [origin for origin in imported.values() if "._" in origin]
    private = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_")
        if ast.unparse(node.value) in imported
    ]
    assert not private
