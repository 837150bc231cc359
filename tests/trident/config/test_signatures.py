"""What is read from sources without importing them is what Python says of the imported thing."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest

from trident.config.signatures import ANY_NAME, TargetNotFound, parameters

KNOWN = """
torch.optim.AdamW torch.optim.SGD torch.utils.data.DataLoader torch.nn.functional.cross_entropy
torch.utils.data.dataloader.DataLoader torch.utils.data.DistributedSampler
torch.optim.lr_scheduler.StepLR torch.optim.lr_scheduler.ReduceLROnPlateau
lightning.Trainer lightning.pytorch.trainer.trainer.Trainer lightning.pytorch.Trainer
lightning.pytorch.callbacks.ModelCheckpoint lightning.pytorch.callbacks.EarlyStopping
lightning.pytorch.callbacks.LearningRateMonitor lightning.pytorch.loggers.CSVLogger
datasets.distributed.split_dataset_by_node trident.TridentDataModule
trident.sharding.split_by_rank transformers.optimization.get_cosine_schedule_with_warmup
"""
UNKNOWN = """
transformers.AutoTokenizer.from_pretrained transformers.DataCollatorWithPadding
transformers.PreTrainedTokenizerBase.__call__ datasets.load.load_dataset datasets.Dataset.map
torchmetrics.functional.accuracy torchmetrics.classification.MulticlassF1Score torch.nn.Linear
lightning.pytorch.loggers.WandbLogger trident.TridentModule builtins.range builtins.len
os.environ.get pyarrow.lib.Table.from_pydict functools.partial hydra.utils.get_method sklearn.datasets.load_digits
torchmetrics.MetricCollection numpy.mean json.loads pathlib.Path collections.OrderedDict
"""


def real(target: str) -> Any:
    parts = target.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            value = getattr(value, part)
        return value
    raise ImportError(target)


@pytest.mark.parametrize("target", (KNOWN + UNKNOWN).split())
def test_what_is_seen_is_so(target):
    names = parameters(target)
    assert (names is not None) or target in UNKNOWN.split()
    if names is not None:
        signature = inspect.signature(real(target)).parameters.values()
        kinds = {parameter.kind for parameter in signature}
        assert (ANY_NAME in names) == (inspect.Parameter.VAR_KEYWORD in kinds)
        several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        assert set(names) - {ANY_NAME} == {p.name for p in signature if p.kind not in several}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("torch.optim.Adm", "torch.optim has no 'Adm'"),
        ("nowhere.Thing", "there is no module 'nowhere'"),
        ("lightning.pytorch.callbacks.ModelCheckpont", "has no 'ModelCheckpont'"),
        ("", "not a dotted name"),
    ],
)
def test_what_is_not_there(target, said):
    with pytest.raises(TargetNotFound, match=said):
        parameters(target)


def test_a_projects_own_code_is_found_from_its_folder(tmp_path, monkeypatch):
    (tmp_path / "ownsrc").mkdir()
    (tmp_path / "ownsrc/models.py").write_text(
        "from torch import nn\n"
        "class Base(nn.Module):\n    def __init__(self, width, depth=2): pass\n"
        "class Child(Base): pass\n"
        "class Free(Base):\n    def __init__(self, *args, **kwargs): pass\n"
        "class Unseen(nn.Module): pass\n"
    )
    with pytest.raises(TargetNotFound):
        parameters("ownsrc.models.Child")
    monkeypatch.chdir(tmp_path)
    assert set(parameters("ownsrc.models.Child") or ()) == {"width", "depth"}
    assert parameters("ownsrc.models.Free") == {ANY_NAME: None}
    assert parameters("ownsrc.models.Unseen") is None
    with pytest.raises(TargetNotFound, match=r"ownsrc\.models has no 'Chidl'") as error:
        parameters("ownsrc.models.Chidl")
    assert error.value.nearest == ["ownsrc.models.Child"]


def test_a_folder_of_data_hides_no_library(tmp_path, monkeypatch):
    (tmp_path / "torch/optim").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "lr" in (parameters("torch.optim.AdamW") or ())
    assert parameters("trident.strategies.fsdp") == {ANY_NAME: None}


def test_nothing_is_imported():
    code = "import sys; from trident.config.signatures import parameters as p; p('torch.optim.AdamW'); "
    code += "p('lightning.Trainer'); print('torch' in sys.modules, 'lightning' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]


CASES = {
    "own.whole.f": {"a", "b", "c"},
    "own.renamed": {"x"},
    "own.both.f": {"from_file"},  # a folder without `__init__.py` hides no file of its name
    "own.inner.f": {"from_package"},  # a package does
    "own.plain.module.f": {"deep"},
    "own.whole.Outer.Inner": {"w"},
    "own.whole.Outer.make": {"self", "kind"},
    "own.whole.twice": None,
    "own.whole.either": None,
    "own.whole.Made": None,
    "own.whole.kept": None,
    "own.compiled.f": None,
    "own.globals.anything": None,
    "own.broken.f": None,
    "own": None,
}


@pytest.fixture
def own(tmp_path, monkeypatch):
    files = {
        "__init__.py": "from .whole import f as renamed_before\nfrom own.both import g as renamed\n",
        "whole.py": (
            "import dataclasses\n"
            "def f(a, /, b, *, c=1): pass\n"
            "class Outer:\n"
            "    class Inner:\n        def __init__(self, w): pass\n"
            "    @classmethod\n    def make(self, kind): pass\n"
            "def twice(a): pass\ndef twice(b): pass\n"
            "try:\n    from json import loads as either\nexcept ImportError:\n    def either(): pass\n"
            "@dataclasses.dataclass\nclass Made:\n    a: int\n"
            "kept, (also) = 1, 2\n"
        ),
        "both.py": "def f(from_file): pass\ndef g(x): pass\n",
        "both/data.txt": "",
        "inner.py": "def f(from_file): pass\n",
        "inner/__init__.py": "def f(from_package): pass\n",
        "plain/module.py": "def f(deep): pass\n",
        f"compiled{EXTENSION_SUFFIXES[0]}": "",
        "globals.py": "globals().update(anything=1)\n",
        "broken.py": "def f(:\n",
    }
    for name, text in files.items():
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("target", CASES)
def test_a_name_is_followed_to_its_definition_or_not_at_all(target):
    found = parameters(target)
    assert (None if found is None else set(found)) == CASES[target]


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("target", "nearest"), [("own.whole.keptt", ["own.whole.kept"]), ("own.nothing", [])]
)
def test_what_a_module_does_not_have_is_named(target, nearest):
    module, _, name = target.rpartition(".")
    with pytest.raises(TargetNotFound, match=f"{module} has no '{name}'") as error:
        parameters(target)
    assert error.value.nearest == nearest


def test_aliases_in_annotations_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aliases_of_mine.py").write_text(
        "from typing import Literal\nUNITS = int | None\nloop = loop\n"
    )
    (tmp_path / "uses_aliases.py").write_text(
        "from typing import Literal\nfrom aliases_of_mine import UNITS, Other, NONE\n"
        "Kind = Literal['relu', 'gelu']\nloop = loop\n"
        "class Model:\n"
        "    def __init__(self, kind: Kind | None, units: UNITS, other: Other, none: NONE, loop: loop, any: Any): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    found = parameters("uses_aliases.Model")
    assert found is not None
    texts = {name: accepts and accepts.text() for name, accepts in found.items()}
    assert texts == {
        "kind": "relu or gelu or null",
        "units": "a whole number or null",
        **dict.fromkeys(("other", "none", "loop", "any")),
    }


def test_the_trainers_precision_is_known() -> None:
    precision = (parameters("lightning.Trainer") or {})["precision"]
    assert precision is not None and precision.mismatch("bf16-mixed") is None
    assert precision.mismatch("bf16-mix") is not None
