"""What a checkpoint may hold: plain values come back as they were, and whatever could run code is refused."""

from __future__ import annotations

import collections
import datetime
import decimal
import io
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trident.core.safe_globals import (
    Stored,
    allow_configs,
    readable,
    require_readable,
    stored_array,
)
from trident.errors import ConfigError

allow_configs()  # as the import of a module of trident's does


class Mine:
    pass


class Runs:
    """Calls something when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("echo it ran",)


def read_back(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(readable(value), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


PLAIN = [
    *(np.float64(1.5), np.float32(2), np.int64(3), np.bool_(True), np.str_("ab"), np.str_("")),
    *(np.datetime64("2026-01-01"), np.timedelta64(3, "s"), np.bytes_(b"x"), np.complex64(1j)),
    *(np.arange(6.0).reshape(2, 3), np.zeros((0, 3)), np.array(3), np.array(["a", "bcd"])),
    *(
        np.arange(3).astype(">i4"),
        np.asfortranarray(np.eye(3)),
        np.zeros(2, [("a", "f4"), ("b", "i8", 2)]),
    ),
    *(datetime.timedelta(1, 2, 3), datetime.date(2026, 1, 1), datetime.time(1, 2)),
    datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
    *(
        decimal.Decimal("1.50"),
        Path("/a/b"),
        uuid.UUID(int=7),
        1j,
        slice(1, 2),
        range(3),
        b"",
        b"ab",
    ),
    *({1}, {np.int64(1)}, frozenset({2}), collections.OrderedDict(a=1), collections.Counter("aab")),
    collections.defaultdict(list, {np.int64(2): [np.float64(1)]}),
    *(
        collections.deque([1, np.float64(2)], maxlen=4),
        (1, (np.float64(2),)),
        [{"a": (np.int8(1),)}],
    ),
    *(torch.Size([2]), torch.float32, torch.device("cpu"), None, "a", -(2**70)),
]


@pytest.mark.parametrize(
    "value", PLAIN, ids=[f"{at}-{type(one).__name__}" for at, one in enumerate(PLAIN)]
)
def test_a_plain_value_is_read_as_the_type_that_it_was(value: Any) -> None:
    require_readable({"a": value})
    found = read_back(value)
    assert type(found) is type(value) and repr(found) == repr(value)
    if isinstance(value, np.ndarray):
        assert found.dtype == value.dtype and found.shape == value.shape and found.flags.writeable
    if isinstance(value, list | tuple | collections.deque):
        assert [type(one) for one in found] == [type(one) for one in value]


def test_what_is_one_object_stays_one() -> None:
    tensor, array, ring = torch.zeros(2), np.zeros(2), [0]
    ring.append(ring)
    found = read_back({"a": [tensor, array], "b": (tensor, array), "ring": ring})
    assert found["a"][1] is found["b"][1] and found["ring"][1] is found["ring"]
    assert found["a"][0].data_ptr() == found["b"][0].data_ptr()
    weights = torch.nn.BatchNorm1d(2).state_dict()
    assert vars(readable(weights)) == vars(weights)


UNREADABLE: list[tuple[Any, str, str]] = [
    (Mine(), "state['x']", f"{__name__}.Mine"),
    ([1, {"a": Mine()}], "state['x'][1]['a']", f"{__name__}.Mine"),
    (collections.deque([Mine()]), "state['x'][0]", f"{__name__}.Mine"),
    (np.array([Mine()], dtype=object), "state['x']", "numpy.ndarray of dtype object"),
    (np.array([{"a": 1}], dtype=object), "state['x']", "numpy.ndarray of dtype object"),
    (np.random.default_rng(0), "state['x']", "numpy.random._generator.Generator"),
    (os.system, "state['x']", "builtin_function_or_method"),
    (lambda: 0, "state['x']", "function"),
    (collections.defaultdict(lambda: 0), "state['x']", "defaultdict"),
    (Runs(), "state['x']", f"{__name__}.Runs"),
]


@pytest.mark.parametrize(
    ("value", "place", "kind"),
    UNREADABLE,
    ids=[f"{at}-{kind}" for at, (_, _, kind) in enumerate(UNREADABLE)],
)
def test_what_torch_would_not_read_is_refused_by_name(
    value: Any, place: str, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        require_readable({"state_dict": {}, "callbacks": {"Mine": {"fine": 1, "x": value}}})
    assert f"{place} of callback Mine is of type {kind}" in str(error.value)
    assert "\nhint: " in str(error.value)
    assert "it ran" not in capfd.readouterr().out
    with pytest.raises(Exception):  # noqa: B017  # however it fails, it is not read
        read_back(value)


@pytest.mark.parametrize(
    "planted",
    [
        np.array([1, "a"], dtype=object),
        np.float64(1.0),  # by NumPy's own functions, which take bytes for whatever a file says
        np.dtype("O"),
        Runs(),
        Stored(stored_array, "|O", (1,), bytes(8)),
        Stored(stored_array, [("a", "|O")], (1,), bytes(8)),
        Stored(os.system, "echo it ran"),
    ],
    ids=["objects", "scalar", "dtype", "call", "stored", "stored field", "stored call"],
)
def test_a_planted_file_is_not_read(planted: Any, capfd: pytest.CaptureFixture[str]) -> None:
    file = io.BytesIO()
    torch.save({"a": planted}, file)
    file.seek(0)
    with pytest.raises(Exception, match=r"Weights only load failed|holds objects"):
        torch.load(file, weights_only=True)
    assert "it ran" not in capfd.readouterr().out


def test_no_tensor_is_written_to_see_whether_it_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes, save = [], torch.save

    def measured(value: Any, file: Any) -> None:
        save(value, file)
        sizes.append(file.tell())

    monkeypatch.setattr(torch, "save", measured)
    weights = {"a": torch.zeros(10**6), "b": torch.nn.Parameter(torch.zeros(10**6))}
    require_readable(
        {"state_dict": collections.OrderedDict(weights), "optimizer_states": [weights]}
    )
    assert sizes and max(sizes) < 10_000
