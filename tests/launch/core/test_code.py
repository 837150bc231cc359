"""Where files lie in a copy of the code."""

from __future__ import annotations

from pathlib import Path

from trident.launch.core.code import copied_to


def test_files_of_the_directory_keep_their_places_and_others_get_one() -> None:
    directory = Path("/home/me/project")
    assert copied_to(directory / "conf" / "a.yaml", directory) == Path("conf/a.yaml")
    assert copied_to(Path("/shared/conf/a.yaml"), directory) == Path(".outside/shared/conf/a.yaml")
    assert copied_to(directory, directory) == Path()
