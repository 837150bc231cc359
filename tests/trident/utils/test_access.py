"""Values are found by dotted paths and globs."""

from __future__ import annotations

from types import SimpleNamespace

from trident.utils.access import deepgetitem, get_dict_by_glob_pattern


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
