"""What users get: an editable install and a wheel, both seen from outside the project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
FOLDERS = {
    "trident": "trident",
    "launch": "trident/launch",
    "configs": "trident/configs",
    "slurm_templates": "trident/slurm_templates",
}
"""Where each top-level folder of the project lies in a wheel."""

PLUGINS = "launch/hydra_plugins"
SHIPPED_SUFFIXES = {".py", ".yaml", ".sbatch", ".sh", ".typed"}

PROBE = """
import importlib.util, json, sys
from importlib.metadata import distribution
from importlib.resources import files

import trident, trident.launch
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin

def names(folder, prefix=""):
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from names(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name

templates = files("trident.slurm_templates")

def ours(kind):
    found = Plugins.instance().discover(kind)
    return sorted(c.__name__ for c in found if c.__module__.startswith("hydra_plugins.trident"))

print(json.dumps({
    "trident": trident.__file__,
    "version": trident.__version__,
    "commands": sorted(distribution("trident-sweep").entry_points.names),
    "stray": [n for n in sys.argv[1:] if importlib.util.find_spec(n) is not None],
    "configs": sorted(n for n in names(files("trident.configs")) if n.endswith(".yaml")),
    "templates": {
        name: templates.joinpath(name).read_text()
        for name in names(templates)
        if not name.endswith((".py", ".pyc"))
    },
    "launchers": ours(Launcher),
    "search_path": ours(SearchPathPlugin),
}))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """The stdout of a command that sees no more of the project than what is installed."""
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outside")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel from an sdist from a copy of the sources, so that nothing is written beside them."""
    work = tmp_path_factory.mktemp("build")
    sources = work / "sources"
    sources.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, sources / name, ignore=ignored)
    build = ("-m", "build", "--no-isolation", "--outdir", work / "dist", sources)
    run(sys.executable, *build, cwd=work)
    (built,) = (work / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def wheel_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel, and its dependencies from this one."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    (site,) = home.glob("lib/python*/site-packages")
    # A plain line adds the directory, but reads no .pth in it: the editable install stays unseen.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ("install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, *install, wheel, cwd=home)
    return python


@pytest.fixture(scope="module", params=["editable", "wheel"])
def python(request: pytest.FixtureRequest) -> Path:
    if request.param == "editable":
        return Path(sys.executable)
    installed: Path = request.getfixturevalue("wheel_python")
    return installed


@pytest.fixture(scope="module")
def probe(python: Path, outside: Path) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(
        run(python, "-c", PROBE, "launch", "configs", "slurm_templates", "tests", cwd=outside)
    )
    return seen


def sources() -> Iterator[Path]:
    """What the project has to ship, relative to its root."""
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            shipped = path.suffix in SHIPPED_SUFFIXES or path.name == "py.typed"
            if shipped and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT)


def in_wheel(source: Path) -> str:
    if source.is_relative_to(PLUGINS):
        return (Path("hydra_plugins") / source.relative_to(PLUGINS)).as_posix()
    return (FOLDERS[source.parts[0]] / source.relative_to(source.parts[0])).as_posix()


def test_every_dependency_is_pinned_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    project = PYPROJECT["project"]
    extras = chain.from_iterable(project["optional-dependencies"].values())
    wanted = map(Requirement, [*project["dependencies"], *extras])
    assert all(w.specifier.contains(pins[canonicalize_name(w.name)]) for w in wanted)


def directory_of(package: str) -> str:
    """Where setuptools looks for a package: below the directory of its nearest parent that has one."""
    directories = SETUPTOOLS["package-dir"]
    parent = package
    while parent not in directories:
        parent = parent.rpartition(".")[0]
    return directories[parent] + package.removeprefix(parent).replace(".", "/")


def test_every_package_directory_is_declared() -> None:
    declared = {directory_of(package) for package in SETUPTOOLS["packages"]}
    found = {path.parent.as_posix() for path in sources() if path.suffix == ".py"}
    assert found | {PLUGINS} == declared


def test_the_wheel_holds_every_source_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == {in_wheel(path) for path in sources()}


def test_the_sdist_holds_every_source(wheel: Path) -> None:
    (sdist,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {path.as_posix() for path in sources()} <= held


def test_the_wheel_takes_two_names(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name.partition("/")[0] for name in archive.namelist()}
    (metadata,) = (name for name in names if name.endswith(".dist-info"))
    assert names == {"trident", "hydra_plugins", metadata}


def test_what_an_install_gives(python: Path, probe: dict[str, Any]) -> None:
    home = ROOT if python == Path(sys.executable) else python.parents[1]
    assert Path(probe["trident"]).is_relative_to(home)
    assert probe["version"] == PYPROJECT["project"]["version"]
    assert probe["commands"] == ["trident", "trident-sweep"]
    assert probe["stray"] == [], "names of the project's folders leak into site-packages"


def test_configs_and_templates_are_found(probe: dict[str, Any]) -> None:
    configs = ROOT / "configs"
    assert probe["configs"] == sorted(
        path.relative_to(configs).as_posix() for path in configs.rglob("*.yaml")
    )
    templates = (ROOT / "slurm_templates").iterdir()
    assert probe["templates"] == {
        path.name: path.read_text() for path in templates if path.suffix in {".sbatch", ".sh"}
    }


def test_hydra_finds_the_plugins(probe: dict[str, Any]) -> None:
    assert probe["launchers"], "no launcher of hydra_plugins.trident is discovered"
    assert probe["search_path"], "no search path plugin of hydra_plugins.trident is discovered"


def test_the_search_path_has_the_shipped_configs(python: Path, outside: Path) -> None:
    assert "pkg://trident.configs" in run(
        python, "-P", "-m", "trident.run", "--info", "searchpath", cwd=outside
    )


@pytest.mark.parametrize("command", ["trident", "trident-sweep"])
def test_commands_start(python: Path, outside: Path, command: str) -> None:
    assert run(python.parent / command, "--help", cwd=outside)


def test_types_reach_users(wheel_python: Path, outside: Path) -> None:
    """From outside, mypy follows `trident.launch`, which it does not in the project itself."""
    packages = ("-p", "trident", "-p", "hydra_plugins.trident")
    # What `make lint` has learnt of torch and the like is used again: it takes most of the time.
    options = ("--config-file", ROOT / "pyproject.toml", "--cache-dir", ROOT / ".mypy_cache")
    mypy = (sys.executable, "-m", "mypy", "--python-executable", wheel_python)
    assert "Success" in run(*mypy, *options, *packages, cwd=outside)
