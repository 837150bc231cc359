"""Where Python finds a project's own modules, so that members can import them from the copy of the code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlparse

__all__ = ["import_roots"]


def import_roots(directory: Path, environ: Mapping[str, str]) -> list[str]:
    """The folders below `directory`, and itself first, from which this Python imports modules.

    These are the entries of PYTHONPATH, those of ``.pth`` files, and the folders of packages that are installed in
    editable mode. An environment within the project does not count.
    """
    listed = [*environ.get("PYTHONPATH", "").split(os.pathsep), *sys.path]
    entries = [directory / entry for entry in listed if entry]
    roots = [directory]
    for entry in (*entries, *_editable()):
        path = Path(os.path.normpath(entry))
        if path.is_relative_to(directory) and path.is_dir() and not path.is_relative_to(sys.prefix):
            roots.append(path)
    return list(dict.fromkeys(map(str, roots)))


def _editable() -> Iterator[Path]:
    """The folders that hold the packages of distributions in editable mode."""
    for distribution in distributions():
        if not _is_editable(distribution):
            continue
        for name in (distribution.read_text("top_level.txt") or "").split():
            with suppress(ImportError, ValueError):
                spec = find_spec(name)  # imports nothing, since the name has no dots
                for place in (spec.submodule_search_locations or ()) if spec else ():
                    yield Path(place).parent
                if spec is not None and spec.origin and not spec.submodule_search_locations:
                    yield Path(spec.origin).parent


def _is_editable(distribution: Distribution) -> bool:
    text = distribution.read_text("direct_url.json")
    if text is None:
        return False
    try:
        record = json.loads(text)
        where = urlparse(record["url"])
        return bool(record["dir_info"]["editable"]) and Path(unquote(where.path)).is_dir()
    except (ValueError, LookupError, TypeError):
        return False
