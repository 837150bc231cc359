"""sweep.json is read as it was written; whatever else it holds is an error that names the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from damaged import SICK
from hypothesis import given
from hypothesis import strategies as st
from written import record

from trident.launch.errors import LaunchError
from trident.launch.sweepdir.record import SCHEMA, SweepRecord, read_sweep
from trident.protocol.records import write_json

TEXT = st.text(st.characters(codec="utf-8"))
MAPPING = st.dictionaries(TEXT, st.none() | st.integers() | TEXT | st.lists(TEXT))
RECORDS = st.builds(
    SweepRecord,
    id=st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1),
    name=TEXT,
    command_line=TEXT,
    created=st.floats(0, 1e10),
    app=MAPPING,
    launcher=MAPPING,
    git=st.none() | MAPPING,
    versions=st.dictionaries(TEXT, TEXT),
)


@given(RECORDS)
def test_a_record_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, written: SweepRecord
) -> None:
    path = tmp_path_factory.getbasetemp() / "sweep.json"
    path.write_text(json.dumps(written.record()))
    assert read_sweep(path) == written


def test_what_another_version_added_or_left_out_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    values = {**record().record(), "notes": "later"}
    for key in ("git", "versions", "name"):
        del values[key]
    write_json(path, values)
    assert read_sweep(path) == record()
    assert values["schema"] == SCHEMA == 1


@pytest.mark.parametrize("kind", SICK)
def test_a_damaged_record_is_an_error_with_the_file(kind: str, tmp_path: Path) -> None:
    make, words = SICK[kind]
    path = tmp_path / "sweep.json"
    make(path)
    with pytest.raises(LaunchError) as caught:
        read_sweep(path)
    first, hint = str(caught.value).splitlines()
    assert first.startswith(f"{path} ") and words in first
    assert hint.startswith("hint: ")
