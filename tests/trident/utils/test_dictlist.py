"""A DictList is a dict and a list."""

from __future__ import annotations

from trident.utils.dictlist import DictList


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
