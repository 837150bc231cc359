from __future__ import annotations

import logging
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from trident.utils.access import deepgetitem, get_dict_by_glob_pattern
from trident.utils.dictlist import DictList
from trident.utils.logging import get_logger
from trident.utils.transform import concatenate_3d, flatten_dict, stack_or_pad_2d


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "shapes", [[(2, 3), (1, 5)], [(2, 3, 1), (1, 2, 4)], [(1, 1, 2, 2), (2, 2, 1, 3)]]
)
def test_ragged_outputs_keep_their_type(dtype, shapes):
    joined = flatten_dict([{"x": torch.ones(shape, dtype=dtype)} for shape in shapes])["x"]
    assert joined.dtype == dtype
    assert joined.shape == (
        sum(s[0] for s in shapes),
        *(max(w) for w in list(zip(*shapes, strict=True))[1:]),
    )
    pad = 0 if dtype == torch.bool else -100
    assert joined.double().unique().tolist() == sorted({float(pad), 1.0})


def test_what_is_joined_how():
    steps = [
        {"loss": torch.tensor(1.0), "preds": torch.tensor([1, 2]), "texts": ["a", "b"], "n": 1},
        {"loss": torch.tensor(2.0), "preds": torch.tensor([3]), "texts": ["c"], "n": 2},
    ]
    joined = flatten_dict(steps)
    assert joined["loss"].tolist() == [1.0, 2.0]
    assert joined["preds"].tolist() == [1, 2, 3]
    assert joined["texts"] == ["a", "b", "c"]
    assert joined["n"] == [1, 2]
    assert flatten_dict([]) == {}
    assert flatten_dict([{"x": []}]) == {"x": []}


def test_tuples_and_arrays():
    pair = (torch.zeros(1, 2, 3), torch.zeros(1, 2))
    first, second = flatten_dict([{"h": pair}, {"h": pair}])["h"]
    assert first.shape == (2, 2, 3)
    assert second.shape == (2, 2)
    arrays = flatten_dict([{"a": np.array([1, 2])}, {"a": np.array([3])}])["a"]
    assert arrays.tolist() == [1, 2, 3]
    assert stack_or_pad_2d([torch.ones(1, 1), torch.ones(1, 2)], pad_id=0).tolist() == [
        [1, 0],
        [1, 1],
    ]
    assert concatenate_3d([torch.ones(1, 1, 1), torch.ones(1, 1, 2)]).shape == (2, 1, 2)


def test_nested_access():
    tree = {"a": SimpleNamespace(b={"c": 0, "none": None})}
    assert deepgetitem(tree, "a.b.c") == 0
    assert deepgetitem(tree, "a.b.x.y", "default") == "default"
    assert deepgetitem(tree, "a.b.none", "default") is None


def test_globs_match_whole_keys():
    dico = {"p": 1, "preds": 2, "labels[0]": 3}
    assert get_dict_by_glob_pattern(dico, "p") == {"p": 1}
    assert get_dict_by_glob_pattern(dico, "p*") == {"p": 1, "preds": 2}
    assert get_dict_by_glob_pattern(dico, "labels[0]") == {"labels[0]": 3}


def test_dictlist_is_dict_and_list():
    items = DictList({"a": 1})
    items["b"] = 2
    assert (items["b"], items[0], items[-1], len(items), list(items)) == (2, 1, 2, 2, ["a", "b"])
    assert (items.get("c"), items.get("c", 3), "a" in items) == (None, 3, True)
    assert repr(items) == "DictList({'a': 1, 'b': 2})"
    assert str(items) == "{'a': 1, 'b': 2}"
    del items["a"]
    assert (list(items.items()), list(items.values()), list(items.keys())) == (
        [("b", 2)],
        [2],
        ["b"],
    )


@pytest.mark.parametrize(("environment", "spoken"), [({}, 1), ({"LOCAL_RANK": "1"}, 0)])
def test_a_logger_speaks_on_rank_zero(environment, spoken, monkeypatch, caplog):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.INFO):
        get_logger("trident.test").info("said")
    assert len(caplog.records) == spoken


def test_public_names_load_lazily():
    code = (
        "import sys, trident; assert 'torch' not in sys.modules; print(trident.__version__);"
        "from trident import TridentModule, TridentDataModule, TridentDataspec;"
        "from trident.core.module import TridentModule as M; assert M is TridentModule;"
        "from trident.utils.enums import Split; assert Split('val') is Split.VAL"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    import trident

    with pytest.raises(AttributeError, match="nothing"):
        _ = trident.nothing
