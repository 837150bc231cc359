"""The rules between modules, held: who imports whom, and who alone knows what."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trident.protocol.ranks import VARIABLES

ROOT = Path(__file__).parents[1]
ENGINE = sorted((ROOT / "trident").rglob("*.py"))
PLUGINS = sorted((ROOT / "launch" / "hydra_plugins").rglob("*.py"))
LAUNCH = sorted(set((ROOT / "launch").rglob("*.py")) - set(PLUGINS))
ALL = [*ENGINE, *LAUNCH, *PLUGINS]

HEAVY = {"torch", "lightning", "pytorch_lightning", "datasets", "transformers", "torchmetrics"}

STDLIB_ONLY = tuple(
    f"trident.protocol.{path.stem}"
    for path in sorted((ROOT / "trident/protocol").glob("[a-z]*.py"))
)
SHARED = {
    *STDLIB_ONLY,
    "trident.config.annotations",
    "trident.config.hints",
    "trident.config.keys",
    "trident.config.locate",
    "trident.config.references",
    "trident.config.schema",
    "trident.config.signatures",
    "trident.config.yaml_numbers",
}
"""What the launcher imports of the engine."""

THIRD_PARTIES_OF_LAUNCH = {
    *("click", "hydra", "hydra_plugins", "omegaconf", "psutil", "rich", "submitit"),
}

PICKLES = {"pickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
FORBIDDEN_CALLS = {"eval", "exec", "os.system", "os.popen", "subprocess.getoutput"}

SCHEDULER_COMMANDS = {"sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo"}
SWEEP_FILES = {
    "members.jsonl",
    "array.json",
    "submission.json",
    "started.json",
    "lease.json",
    "stop.json",
    "end.json",
    "cancelled.json",
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it; relative ones are left out."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            # `from trident.protocol import ranks` imports trident.protocol.ranks
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if is_module(name) else node.module for name in names)


def is_module(name: str) -> bool:
    """Whether this is a module of the engine."""
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def strings(path: Path) -> Iterator[str]:
    return (
        node.value
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def holders(paths: list[Path], pattern: str) -> set[str]:
    """The files with a string that is, as a whole, what the pattern says."""
    return {name(path) for path in paths if any(re.fullmatch(pattern, s) for s in strings(path))}


def any_of(names: set[str] | tuple[str, ...]) -> str:
    return "|".join(map(re.escape, sorted(names)))


def loaded_by(code: str) -> set[str]:
    """The top-level modules that are loaded when code has run in a new interpreter."""
    report = "import json, sys; print(json.dumps([m.partition('.')[0] for m in sys.modules]))"
    command = [sys.executable, "-P", "-c", f"{code}\n{report}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return set(json.loads(done.stdout.splitlines()[-1]))


# -- what an import costs ----------------------------------------------------------------------


@pytest.mark.parametrize("module", ["trident", "trident.launch", "trident.launch.cli"])
def test_light_modules_load_neither_engine_nor_hydra(module: str) -> None:
    heavy = HEAVY | {"hydra", "omegaconf", "submitit", "numpy"}
    assert not heavy & loaded_by(f"import {module}")


@pytest.mark.parametrize("module", ["trident.run", *sorted(SHARED)])
def test_modules_of_the_login_node_load_no_torch(module: str) -> None:
    assert not HEAVY & loaded_by(f"import {module}")


def test_no_module_of_the_launcher_loads_torch() -> None:
    paths = [path.relative_to(ROOT / "launch") for path in LAUNCH if path.stem != "__main__"]
    modules = [".".join(["trident.launch", *path.with_suffix("").parts]) for path in paths]
    assert not HEAVY & loaded_by("\n".join(f"import {module}" for module in modules))


def test_the_plugins_load_no_torch() -> None:
    discover = "from hydra.core.plugins import Plugins; Plugins.instance()"
    assert not HEAVY & loaded_by(discover)


# -- arrows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ENGINE, ids=name)
def test_the_engine_does_not_know_the_launcher(path: Path) -> None:
    known = {*imports(path), *strings(path)}
    assert not [what for what in known if re.match(r"trident\.launch\b(?! )", what)]


@pytest.mark.parametrize("path", [*LAUNCH, *PLUGINS], ids=name)
def test_the_launcher_imports_of_the_engine_what_is_shared(path: Path) -> None:
    engine = {module for module in imports(path) if module.partition(".")[0] == "trident"}
    allowed = engine if path in PLUGINS else SHARED
    assert {module for module in engine if not module.startswith("trident.launch")} <= SHARED
    assert engine <= allowed, "inside launch/ imports of it are relative"


@pytest.mark.parametrize("path", [*LAUNCH, *PLUGINS], ids=name)
def test_the_launcher_has_few_dependencies(path: Path) -> None:
    known = sys.stdlib_module_names | THIRD_PARTIES_OF_LAUNCH | {"trident"}
    assert {module.partition(".")[0] for module in imports(path)} <= known


@pytest.mark.parametrize("module", STDLIB_ONLY)
def test_what_both_sides_use_needs_the_standard_library_only(module: str) -> None:
    path = ROOT / f"{module.replace('.', '/')}.py"
    foreign = {found for found in imports(path) if found not in STDLIB_ONLY}
    assert {found.partition(".")[0] for found in foreign} <= sys.stdlib_module_names


# -- never -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ALL, ids=name)
def test_no_pickles(path: Path) -> None:
    assert not {module.partition(".")[0] for module in imports(path)} & PICKLES


@pytest.mark.parametrize("path", ALL, ids=name)
def test_no_eval_and_no_shell(path: Path) -> None:
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    assert not {ast.unparse(call.func) for call in calls} & FORBIDDEN_CALLS
    assert not [call for call in calls if any(keyword.arg == "shell" for keyword in call.keywords)]


PRIVATE = r"_[a-z]\w*[a-z0-9]"
"""A name that begins with an underscore; those that end with one, as `_target_`, are Hydra's words."""

KNOWN_PRIVATE = {"os._exit"}
"""Documented in spite of its name."""


def private_names(path: Path) -> Iterator[str]:
    """Private names of others in a file: imported, as attributes, and in strings."""
    nodes = list(ast.walk(tree(path)))
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    parts_of_words = {
        id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values
    }
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("trident"):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            yield from (found for found in names if re.fullmatch(PRIVATE, found))
    attributes = (node for node in nodes if isinstance(node, ast.Attribute))
    others = (node for node in attributes if ast.unparse(node.value) not in ("self", "cls"))
    for node in others:
        if re.fullmatch(PRIVATE, node.attr) and node.attr not in own:
            yield ast.unparse(node)
    constants = (node for node in nodes if isinstance(node, ast.Constant))
    words = (str(node.value) for node in constants if id(node) not in parts_of_words)
    yield from (word for word in words if re.fullmatch(PRIVATE, word))


@pytest.mark.parametrize("path", ENGINE, ids=name)
def test_private_names_of_libraries_are_in_one_folder(path: Path) -> None:
    # `tests/trident/trainer/test_internals.py` holds our classes to those of the classes that they extend.
    if path.is_relative_to(ROOT / "trident" / "trainer" / "internals"):
        return
    assert not set(private_names(path)) - KNOWN_PRIVATE


# -- tests -------------------------------------------------------------------------------------

TESTED = {"launch": ("core", "planning", "schedulers"), "trident": ("core", "data", "protocol")}
"""The folders in which every module has a test file at the same place under `tests/`."""


@pytest.mark.parametrize("folder", [f"{top}/{name}" for top in TESTED for name in TESTED[top]])
def test_every_module_has_a_test_file(folder: str) -> None:
    modules = [path for path in (ROOT / folder).rglob("*.py") if path.stem != "__init__"]
    assert modules
    below = (path.relative_to(ROOT) for path in modules)
    expected = [Path("tests", path.parent, f"test_{path.name}") for path in below]
    assert not [test for test in expected if not (ROOT / test).is_file()]


# -- one place that knows ----------------------------------------------------------------------


def test_one_module_knows_the_rank_variables() -> None:
    known = (
        any_of(VARIABLES) + r"|(SLURM|SUBMITIT|TORCHELASTIC|PMI)_?\w*(PROCID|RANK|LOCALID|NODEID)"
    )
    assert holders(ALL, known) == {"trident/protocol/ranks.py"}


def test_one_module_knows_the_variables_of_a_member() -> None:
    # A program without trident loads the hook; `test_trident_exceptions.py` holds the two names together.
    hook = "trident/protocol/hook/trident_exceptions.py"
    assert holders(ALL, r"TRIDENT_\w*") == {"trident/protocol/member.py", hook}


def test_the_engine_knows_no_scheduler() -> None:
    assert holders(ENGINE, r"(SLURM|SBATCH|SUBMITIT)_\w*") == {"trident/protocol/ranks.py"}
    assert not holders(ENGINE, any_of({*SCHEDULER_COMMANDS, "srun"}))


def test_one_folder_talks_to_slurm() -> None:
    found = holders(LAUNCH, any_of(SCHEDULER_COMMANDS))
    assert found and all(path.startswith("launch/schedulers/slurm/") for path in found)
    assert holders(LAUNCH, "srun") == {"launch/core/script.py"}


def test_one_folder_knows_the_sweep_directory() -> None:
    files = holders(LAUNCH, any_of(SWEEP_FILES))
    assert {file.rpartition("/")[0] for file in files} == {"launch/sweepdir"}


@pytest.mark.parametrize("file", sorted(SWEEP_FILES))
def test_a_file_of_the_sweep_directory_has_one_owner(file: str) -> None:
    assert len(holders(ALL, any_of({file}))) == 1


SCHEDULERS = r"trident_(slurm|local)"
OF_ONE_SCHEDULER = {
    "launch/agents/slurm_task.py",
    "launch/agents/probe.py",
}
NAMES_IN_HINTS = {"launch/planning/compose.py", "launch/planning/explain.py"}
"""A hint shows a launcher that is always there, and suggestions of keys are made with its options."""


def code_strings(path: Path) -> Iterator[str]:
    """The strings of a file that are not docstrings."""
    parsed = tree(path)
    bare = {id(node.value) for node in ast.walk(parsed) if isinstance(node, ast.Expr)}
    for node in ast.walk(parsed):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.value


def test_nothing_asks_for_the_name_of_a_scheduler() -> None:
    found = {
        name(path)
        for path in LAUNCH
        if any(re.search(SCHEDULERS, string) for string in code_strings(path))
    }
    assert found - NAMES_IN_HINTS == {"launch/schedulers/base.py"}


def test_a_scheduler_is_imported_by_its_own_parts_alone() -> None:
    found = {
        name(path)
        for path in LAUNCH
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom)
        for imported in [f"{node.module}.{alias.name}" for alias in node.names]
        if re.match(r"(.*\.)?schedulers\.(slurm|local)\b", imported)
    }
    assert found == OF_ONE_SCHEDULER


def test_schedulers_know_no_other_scheduler() -> None:
    shared = ROOT / "launch" / "schedulers"
    for path in (shared / "base.py", shared / "submission.py"):
        imported = {
            f"{node.module}.{alias.name}"
            for node in ast.walk(tree(path))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        assert not [module for module in imported if re.match(r"(None\.)?(slurm|local)\b", module)]
