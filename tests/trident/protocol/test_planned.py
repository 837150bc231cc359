"""The config that was planned, and how another one differs from it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trident.protocol.planned import (
    PlannedConfig,
    hashes,
    read_planned,
    variables_in,
    without,
)

KEYS = st.text("abc", min_size=1, max_size=2)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3))
CONFIGS = st.dictionaries(
    KEYS,
    st.recursive(
        VALUES,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2),
        max_leaves=6,
    ),
    max_size=3,
)


def planned(config: dict[str, Any], *signature: str, **more: Any) -> PlannedConfig:
    plain = json.loads(json.dumps(config, default=str))
    return PlannedConfig(signature=signature, config=without(plain, signature), **more)


def keys(record: PlannedConfig, config: dict[str, Any]) -> list[str]:
    return [difference.key for difference in record.differences(config, {})]


@given(CONFIGS)
def test_a_config_does_not_differ_from_itself_whatever_its_order(config: dict[str, Any]) -> None:
    record = PlannedConfig.from_line(planned(config).line())
    assert keys(record, copy.deepcopy(config)) == []
    assert keys(record, dict(reversed(config.items()))) == []


@given(CONFIGS, KEYS, VALUES)
def test_another_value_is_found_at_its_key(config: dict[str, Any], key: str, value: Any) -> None:
    changed = {**config, key: {"new": value}}
    assert key in {found.partition(".")[0] for found in keys(planned(config), changed)} or (
        json.dumps(config.get(key)) == json.dumps({"new": value})
    )


def test_a_difference_says_both_values() -> None:
    record = planned({"lr": 0.1, "model": {"name": "a"}, "gone": [1]})
    lines = [d.text("x.yaml:3") for d in record.differences({"lr": 0.01, "model": {}, "n": 1}, {})]
    assert lines == [
        "lr: planned 0.1, found 0.01 (x.yaml:3)",
        'model: planned {"name": "a"}, found {} (x.yaml:3)',
        "gone: planned [1], found nothing (x.yaml:3)",
        "n: planned nothing, found 1 (x.yaml:3)",
    ]


def test_what_members_set_themselves_is_not_compared() -> None:
    record = planned({"a": {"lr": 1, "x": 2}, "b": 3}, "a.lr", "+b", "experiment=e", "~c")
    assert keys(record, {"a": {"lr": 9, "x": 2}, "b": 4}) == []
    assert keys(record, {"a": {"lr": 9, "x": 3}}) == ["a.x"]
    assert record.fits(["a.lr=5", "+b=1", "experiment=e", "~c"]) == 2
    assert record.fits(["a.lr=5", "+b=1", "experiment=other", "~c"]) == -1
    assert record.fits(["a.lr=5"]) == -1


def test_keys_that_differ_by_nature_are_not_compared() -> None:
    record = PlannedConfig(signature=("x",), config={"b": {}}, ignored=("b.time", "TOKEN"))
    record = PlannedConfig.from_line(record.line())
    assert keys(record, {"b": {"time": 5}, "x": 1}) == []
    assert keys(record, {"b": {"time": 5, "y": 1}}) == ["b"]


def test_the_choices_that_matter_are_compared() -> None:
    record = planned({}, choices={"hydra/launcher": "a"})
    assert list(record.differences({}, {"hydra/launcher": "a", "model": "x"})) == []
    (difference,) = record.differences({}, {"hydra/launcher": "b"})
    assert difference.key == "hydra/launcher"


def test_of_the_environment_only_hashes_are_kept() -> None:
    config = {
        "a": "${oc.env:TOKEN}/${ oc.env:HOME, x}",
        "b": ["${oc.env:SLURM_JOB_ID}"],
        "${oc.env:KEY}": 1,
    }
    names = variables_in(config, ["SLURM_"])
    assert names == ["HOME", "KEY", "TOKEN"]
    record = planned(
        config, key="k", environment=hashes(names, "k", {"TOKEN": "s3cret", "HOME": ""})
    )
    assert "s3cret" not in record.line()
    assert record.changed_variables({"TOKEN": "s3cret", "HOME": ""}) == []
    assert record.changed_variables({"TOKEN": "other", "KEY": ""}) == ["HOME", "KEY", "TOKEN"]


def test_a_record_is_named_by_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "a:b.jsonl"
    file.write_text(f"{planned({'a': 1}).line()}\n{planned({'a': 2}).line()}\n")
    found = read_planned(f"{file}:1")
    assert found is not None and found.config == {"a": 2}
    for named in ("", str(file), f"{file}:7", f"{tmp_path}/none:0", f"{tmp_path}:0"):
        assert read_planned(named) is None
