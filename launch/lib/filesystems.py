"""What a path is: whether there is something, the kind of its file system, and whether other machines see that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

__all__ = ["holds", "is_memory", "is_network", "kind_of"]

_NETWORK = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "orangefs"),
    *("panfs", "pvfs2", "smb3", "virtiofs", "wekafs"),
}  # fmt: skip
_MEMORY = {"devtmpfs", "ramfs", "tmpfs"}


def holds(test: Callable[[], bool]) -> bool:
    """What a test such as `path.is_file` returns; False for a word that is too long for a path, for example."""
    try:
        return test()
    except OSError:
        return False


def kind_of(path: Path, mounts: str | None = None) -> str:
    """The type of the file system that `path` is on, as the kernel names it; empty where that is not known.

    `mounts` is the text of ``/proc/self/mounts``, read now where it is left out.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(errors="replace")
        except OSError:
            return ""
    places = (path.absolute(), *path.absolute().parents)
    deepest, kind = -1, ""
    for line in mounts.splitlines():
        _, escaped, mounted_kind, *_ = line.split(" ")
        point = Path(escaped.encode().decode("unicode_escape"))  # the kernel writes a space as \040
        # Later mounts hide earlier ones.
        if point in places and len(point.parts) >= deepest:
            deepest, kind = len(point.parts), mounted_kind
    return kind


def is_network(kind: str) -> bool:
    """Whether several machines can see a file system of this kind."""
    return kind in _NETWORK or kind.startswith("fuse.")


def is_memory(kind: str) -> bool:
    """Whether a file system of this kind is in one machine's memory, so that no other machine sees it."""
    return kind in _MEMORY
