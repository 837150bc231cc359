"""A dictionary that is a list as well."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Generic, TypeVar, overload

__all__ = ["DictList"]

T = TypeVar("T")
D = TypeVar("D")


class DictList(Generic[T]):
    """Values by name and by position, in order of insertion: ``dl["mnli"]`` and ``dl[0]``."""

    def __init__(self, data: Mapping[str, T] | None = None) -> None:
        self._data: dict[str, T] = dict(data or {})

    @property
    def _keys(self) -> list[str]:
        return list(self._data)

    def __getitem__(self, key: str | int) -> T:
        return self._data[self._keys[key] if isinstance(key, int) else key]

    def __setitem__(self, key: str, value: T) -> None:
        self._data[key] = value

    def __delitem__(self, key: str) -> None:
        del self._data[key]

    def __contains__(self, key: object) -> bool:
        return key in self._data

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    @overload
    def get(self, key: str) -> T | None: ...
    @overload
    def get(self, key: str, default: D) -> T | D: ...
    def get(self, key: str, default: D | None = None) -> T | D | None:
        return self._data.get(key, default)

    def keys(self) -> KeysView[str]:
        return self._data.keys()

    def values(self) -> ValuesView[T]:
        return self._data.values()

    def items(self) -> ItemsView[str, T]:
        return self._data.items()

    def __str__(self) -> str:
        return str(self._data)

    def __repr__(self) -> str:
        return f"DictList({self._data!r})"
