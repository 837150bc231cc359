"""The values that a checkpoint may hold besides tensors, so that reading one never runs code from it.

torch reads a checkpoint with ``weights_only=True``: tensors, containers, and classes that are allowed by name. Plain
values are made readable here (`readable`), and any others are found before a file is written (`require_readable`).
"""

from __future__ import annotations

import builtins
import collections
import copy
import datetime
import decimal
import io
import pathlib
import typing
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from omegaconf import DictConfig, ListConfig
from omegaconf.base import ContainerMetadata, Metadata
from omegaconf.nodes import AnyNode

from trident.errors import ConfigError

__all__ = ["Stored", "allow_configs", "readable", "require_readable"]

CONFIGS: list[Any] = [
    DictConfig,
    ListConfig,
    AnyNode,
    ContainerMetadata,
    Metadata,
    collections.defaultdict,
    builtins.dict,
    builtins.list,
    builtins.int,
    pathlib.PosixPath,
    typing.Any,
]
"""The classes that OmegaConf's containers consist of: they are plain values and call nothing."""

PLAIN: list[Any] = [
    datetime.timedelta,
    datetime.datetime,
    datetime.date,
    datetime.time,
    datetime.timezone,
    decimal.Decimal,
    pathlib.PurePosixPath,
    uuid.UUID,
    builtins.bytes,  # an empty one is pickled as a call
    builtins.frozenset,
    builtins.slice,
    builtins.range,
    builtins.float,  # this and the following are factories of defaultdicts
    builtins.str,
    builtins.bool,
    builtins.tuple,
]
"""Types of the standard library whose objects are created from plain values."""

CONTAINERS = (dict, collections.OrderedDict, collections.Counter)
LISTS: tuple[type, ...] = (list, tuple, set, frozenset)


def allow_configs() -> None:
    """Let ``weights_only`` loading read plain values, and hyperparameters that older versions saved as configs.

    Anything else that torch does not know is still refused. So are NumPy's own functions for unpickling: a file could
    make them interpret bytes as addresses of objects.
    """
    functions: list[Any] = [stored_array, stored_scalar, stored_deque, stored_defaultdict]
    torch.serialization.add_safe_globals([*CONFIGS, *PLAIN, *functions])


# -- values that are stored in another form, and restored as they were ---------------------------


class Stored:
    """A value that is saved as a call of `make`, one of the functions below, and read as what that returns."""

    def __init__(self, make: Callable[..., Any], *parts: Any) -> None:
        self.make, self.parts = make, parts

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.make, self.parts

    def map_tensors(self, function: Callable[[torch.Tensor], Any]) -> Stored:
        return Stored(self.make, *apply_to_collection(self.parts, torch.Tensor, function))


def stored_array(kind: Any, shape: tuple[int, ...], data: bytes) -> np.ndarray[Any, Any]:
    """Create an array from its dtype's description, its shape, and its bytes in C order.

    Raises:
        ValueError: the dtype holds objects, which cannot be read from bytes.
    """
    dtype = np.lib.format.descr_to_dtype(kind)
    if dtype.hasobject:
        raise ValueError(f"an array of {dtype} holds objects, and is not read from a checkpoint")
    array: np.ndarray[Any, Any] = np.ndarray(shape, dtype, bytearray(data))
    return array


def stored_scalar(kind: Any, data: bytes) -> Any:
    """Create a NumPy scalar from its dtype's description and its bytes."""
    return stored_array(kind, (), data)[()]


def stored_deque(values: list[Any], longest: int | None) -> collections.deque[Any]:
    """Create a deque with its maximum length."""
    return collections.deque(values, longest)


def stored_defaultdict(factory: Any, values: dict[Any, Any]) -> collections.defaultdict[Any, Any]:
    """Create a defaultdict, whose items torch would not restore."""
    return collections.defaultdict(factory, values)


def readable(value: Any, *, tensors: bool = True) -> Any:
    """Return `value` with every part that torch would not read, but that can be stored, replaced by `Stored`.

    Args:
        tensors: whether to keep tensors of torch's own types; otherwise each is replaced by None.
    """
    return _Readable(tensors).of(value)


class _Readable:
    def __init__(self, tensors: bool) -> None:
        self.tensors = tensors
        self._known: dict[int, Any] = {}
        """Results by the identity of the original, so that shared objects stay shared."""

    def of(self, value: Any) -> Any:
        if type(value) in (int, float, str, bool, type(None)):
            return value
        if id(value) not in self._known:
            self._known[id(value)] = self._converted(value)
        return self._known[id(value)]

    def _converted(self, value: Any) -> Any:
        kind = type(value)
        if not self.tensors and _is_plain_tensor(value):
            return None
        if kind is np.ndarray and not value.dtype.hasobject:
            return Stored(stored_array, _description(value), value.shape, value.tobytes())
        if isinstance(value, np.generic) and not value.dtype.hasobject:
            return Stored(stored_scalar, _description(value), value.tobytes())
        if kind is collections.deque:
            return Stored(stored_deque, [self.of(one) for one in value], value.maxlen)
        if kind is collections.defaultdict:
            items = {self.of(key): self.of(one) for key, one in value.items()}
            return Stored(stored_defaultdict, value.default_factory, items)
        if kind in CONTAINERS:
            return self._dict(value)
        if kind is list:
            filled: list[Any] = []
            self._known[id(value)] = filled
            filled.extend(self.of(one) for one in value)
            return filled
        return kind(self.of(one) for one in value) if kind in LISTS else value

    def _dict(self, value: dict[Any, Any]) -> Any:
        self._known[id(value)] = filled = copy.copy(value)  # with the metadata of a state_dict
        filled.clear()
        for key, one in value.items():
            filled[self.of(key)] = self.of(one)
        return filled


def _description(value: Any) -> Any:
    return np.lib.format.dtype_to_descr(value.dtype)


def _is_plain_tensor(value: Any) -> bool:
    """Whether torch can read the tensor whatever its values; not certain for a user's class, or with attributes."""
    own = isinstance(value, torch.Tensor) and type(value).__module__.partition(".")[0] == "torch"
    return own and not getattr(value, "__dict__", None)


# -- values that cannot be read ------------------------------------------------------------------


def require_readable(checkpoint: dict[str, Any]) -> None:
    """Check that what would be saved can be read again, without copying the bytes of its tensors.

    Raises:
        ConfigError: it holds a value that torch does not read; the message names its place.
    """
    stored = readable(checkpoint, tensors=False)
    if _reason(stored) is None:
        return
    place, value = _culprit(stored)
    raise ConfigError(
        f"a checkpoint could not be read again: {_place_text(place)} is of type {_name(value)}, and only tensors "
        f"and plain values are read, so that a file cannot run code\nhint: {_hint(place, value)}"
    )


def _reason(value: Any) -> Exception | None:
    """The error with which torch fails to read the value back; None if it can."""
    file = io.BytesIO()
    try:
        torch.save(value, file)
        file.seek(0)
        torch.load(file, weights_only=True)
    except Exception as error:  # pickling calls the value's own code
        return error
    return None


def _culprit(value: Any) -> tuple[list[Any], Any]:
    """The keys that lead to the innermost value that cannot be read, and that value."""
    place: list[Any] = []
    while True:
        inner = next((one for one in _inside(value) if _reason(one[1]) is not None), None)
        if inner is None:
            return place, value
        place.append(inner[0])
        value = inner[1]


def _inside(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Stored):
        parts: Any = value.parts[1] if value.make is stored_defaultdict else value.parts[0]
        yield from _inside(parts) if value.make in (stored_deque, stored_defaultdict) else ()
    elif type(value) in CONTAINERS:
        yield from value.items()
        yield from (("keys", key) for key in value)
    elif type(value) in LISTS:
        yield from enumerate(value)


def _place_text(place: list[Any]) -> str:
    """Where a value is, in terms that the author of the callback or module knows."""
    if len(place) > 1 and place[0] == "callbacks":
        return f"state{_keys(place[2:])} of callback {place[1]}"
    if place and place[0] in ("hyper_parameters", "datamodule_hyper_parameters"):
        owner = "module" if place[0] == "hyper_parameters" else "datamodule"
        return f"hparams{_keys(place[1:])} of the {owner}"
    return f"checkpoint{_keys(place)}"


def _hint(place: list[Any], value: Any) -> str:
    if place and str(place[0]).endswith("hyper_parameters"):
        return f"save_hyperparameters(ignore={[str(key) for key in place[1:2]]})"
    source = "state_dict()" if place and place[0] == "callbacks" else "what is saved"
    hint = f"let {source} hold only numbers, strings, tensors, NumPy arrays, and lists and dicts of these"
    if type(value).__module__.partition(".")[0] in ("builtins", "numpy"):
        return hint
    return f"{hint}, or allow the class: torch.serialization.add_safe_globals([{type(value).__qualname__}])"


def _keys(place: list[Any]) -> str:
    return "".join(f"[{key!r}]" for key in place)


def _name(value: Any) -> str:
    if isinstance(value, Stored):
        return value.make.__name__.removeprefix("stored_")
    kind = type(value)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    return f"{name} of dtype {value.dtype}" if isinstance(value, np.ndarray) else name
