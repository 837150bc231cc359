"""Sends the outputs of all ranks to rank 0, and its decisions to all ranks.

Tensors are sent as their bytes and are not pickled. Everything is sent from the CPU over gloo, so
that gathered outputs never fill an accelerator's memory. All functions must be called on all ranks,
and communicate nothing if there is only one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from trident.errors import ConfigError

__all__ = ["agree", "all_gather", "all_or_none", "broadcast", "gather", "share", "world_size"]

T = TypeVar("T")

ALIGNMENT = 16
CHUNK = 1 << 28
"""The number of bytes sent at once."""

_groups: dict[Any, Any] = {}


class OtherRankError(RuntimeError):
    """Raised when another rank failed with an error."""


@dataclass(frozen=True)
class _Slot:
    """Takes the place of a tensor in a structure, and points to its bytes."""

    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype


def world_size() -> int:
    """The number of ranks; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def all_gather(value: T) -> list[T]:
    """Return the values of all ranks, in order of rank, on all ranks; for small values."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value, group=_group())
    return values


def agree(number: int) -> list[int]:
    """Return the numbers of all ranks, in order of rank, on all ranks. Cheaper than `all_gather`: a few bytes."""
    if world_size() == 1:
        return [number]
    numbers = torch.zeros(world_size(), dtype=torch.int64)
    numbers[dist.get_rank()] = number
    dist.all_reduce(numbers, group=_group())
    return numbers.tolist()


def share(value: T, source: int) -> T:
    """Return the value of rank `source` on all ranks.

    Tensors may be nested in mappings and sequences, and must be on the CPU. Other ranks' values are ignored.
    """
    if world_size() == 1:
        return value
    mine = dist.get_rank() == source
    skeleton, buffer = _pack(value) if mine else (None, torch.empty(0, dtype=torch.uint8))
    headers = [(skeleton, len(buffer))]
    dist.broadcast_object_list(headers, src=source, group=_group())
    skeleton, size = headers[0]
    if not mine:
        buffer = torch.empty(size, dtype=torch.uint8)
    for chunk in torch.split(buffer, CHUNK):
        if len(chunk):
            dist.broadcast(chunk, src=source, group=_group())
    return value if mine else _unpack(skeleton, buffer)


def broadcast(compute: Callable[[], T]) -> T:
    """Return on all ranks what `compute` returns on rank 0; if it raises there, all ranks raise.

    Raises:
        OtherRankError: on ranks above 0, when `compute` raised on rank 0.
    """
    if world_size() == 1:
        return compute()
    if dist.get_rank() != 0:
        value, error = _broadcast_object(None)
        if error is not None:
            raise OtherRankError(f"rank 0 failed: {error}")
        return value  # type: ignore[no-any-return]
    try:
        result = compute()
    except Exception as error:
        _broadcast_object((None, f"{type(error).__name__}: {error}"))
        raise
    _broadcast_object((result, None))
    return result


@contextmanager
def all_or_none() -> Iterator[None]:
    """A block that succeeds on all ranks or on none, so that no rank waits for one that has failed.

    A rank whose block fails raises its own error.

    Raises:
        ConfigError: the block failed on another rank; the first one that failed raised ConfigError.
        OtherRankError: the block failed on another rank; the first one that failed raised anything else.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    users = isinstance(error, ConfigError)
    message = None if error is None else str(error) if users else f"{type(error).__name__}: {error}"
    for rank, (failure, by_config) in enumerate(all_gather((message, users))):
        if error is not None:
            raise error
        if failure is not None:
            raise (ConfigError if by_config else OtherRankError)(f"rank {rank}: {failure}")


def gather(value: T) -> list[T] | None:
    """Return the values of all ranks, in order of rank, on rank 0; None on the others.

    Tensors may be nested in mappings and sequences, and may differ in shape between ranks. They must
    be on the CPU.
    """
    if world_size() == 1:
        return [value]
    skeleton, buffer = _pack(value)
    headers: list[Any] | None = [None] * world_size() if dist.get_rank() == 0 else None
    dist.gather_object((skeleton, len(buffer)), headers, dst=0, group=_group())
    if headers is None:
        _send(buffer)
        return None
    received = [_receive(size, rank) for rank, (_, size) in enumerate(headers) if rank > 0]
    buffers = [buffer, *received]
    return [
        _unpack(skeleton, bytes_) for (skeleton, _), bytes_ in zip(headers, buffers, strict=True)
    ]


def _broadcast_object(value: Any) -> Any:
    values = [value]
    dist.broadcast_object_list(values, src=0, group=_group())
    return values[0]


def _group() -> Any:
    """A gloo group of all ranks: the default group, unless it has another backend."""
    if dist.get_backend() == "gloo":
        return None
    default = dist.group.WORLD
    if default not in _groups:
        _groups.clear()
        _groups[default] = dist.new_group(backend="gloo")
    return _groups[default]


def _pack(value: Any) -> tuple[Any, Tensor]:
    pieces: list[Tensor] = []
    position = 0

    def put(tensor: Tensor) -> _Slot:
        nonlocal position
        slot = _Slot(position, tuple(tensor.shape), tensor.dtype)
        raw = tensor.contiguous().reshape(-1).view(torch.uint8)
        padding = -len(raw) % ALIGNMENT
        pieces.append(torch.nn.functional.pad(raw, (0, padding)))
        position += len(raw) + padding
        return slot

    skeleton = apply_to_collection(value, Tensor, put)
    return skeleton, torch.cat(pieces) if pieces else torch.empty(0, dtype=torch.uint8)


def _unpack(skeleton: Any, buffer: Tensor) -> Any:
    def take(slot: _Slot) -> Tensor:
        size = slot.dtype.itemsize * torch.Size(slot.shape).numel()
        return buffer[slot.start : slot.start + size].view(slot.dtype).reshape(slot.shape)

    return apply_to_collection(skeleton, _Slot, take)


def _send(buffer: Tensor) -> None:
    for chunk in torch.split(buffer, CHUNK):
        if len(chunk):
            dist.send(chunk, dst=0, group=_group())


def _receive(size: int, rank: int) -> Tensor:
    buffer = torch.empty(size, dtype=torch.uint8)
    for chunk in torch.split(buffer, CHUNK):
        if len(chunk):
            dist.recv(chunk, src=rank, group=_group())
    return buffer
