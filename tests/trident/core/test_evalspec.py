"""The small languages in which a dataspec says what is evaluated."""

from __future__ import annotations

import pytest

from trident.core.evalspec import Evaluation, chosen, resolve, root_of
from trident.errors import ConfigError


def metric(**kwargs):
    return {"metric": len, "kwargs": kwargs}


def test_null_entries_are_left_out():
    found = Evaluation.from_config(
        {
            "prepare": {"batch": None, "outputs": len},
            "step_outputs": {"outputs": "logits", "batch": ["labels", "id"]},
            "metrics": {"none": None, "acc": {**metric(preds="outputs.preds", target=None)}},
        }
    )
    assert found is not None
    assert found.prepare == {"outputs": len}
    assert found.step_outputs == {"outputs": ["logits"], "batch": ["labels", "id"]}
    assert list(found.metrics) == ["acc"]
    assert found.metrics["acc"].kwargs == {"preds": "outputs.preds"}
    assert found.metrics["acc"].compute_on == "epoch_end"
    assert Evaluation.from_config(None) is None


@pytest.mark.parametrize(
    ("node", "read"),
    [
        ({"metrics": {"a": metric(x="outputs.hidden.0", y="batch.labels")}}, None),
        (
            {
                "step_outputs": {"outputs": ["*"]},
                "metrics": {"a": metric(x="outputs.hidden.0", y="dataset_name")},
            },
            {"hidden"},
        ),
        ({"step_outputs": {"outputs": ["*"]}, "metrics": {"a": metric(x="outputs")}}, None),
        (
            {"step_outputs": {"outputs": ["*"]}, "prepare": {"step_outputs": len}, "metrics": {}},
            None,
        ),
        (
            {
                "step_outputs": {"outputs": ["*"]},
                "prepare": {"flatten_outputs": False},
                "metrics": {"a": metric(x="outputs.preds")},
            },
            None,
        ),
    ],
    ids=["all is kept", "what a metric names", "the whole", "a hook sees all", "by step"],
)
def test_only_what_metrics_read_is_kept(node, read):
    found = Evaluation.from_config(node)
    assert found is not None and found.read == read


def test_nothing_is_collected_for_metrics_of_a_step():
    node = {"metrics": {"a": {**metric(x="outputs.x"), "compute_on": "eval_step"}}}
    found = Evaluation.from_config(node)
    assert found is not None and not found.collects
    assert list(found.at("eval_step")) == ["a"] and not found.at("epoch_end")


def test_a_path_is_resolved_in_its_source():
    sources = {"outputs": {"hidden": {"last": [3, 4]}}, "dataset_name": "mnli"}
    assert resolve("x", "outputs.hidden.last", sources) == [3, 4]
    assert resolve("x", "outputs", sources) == sources["outputs"]
    assert resolve("x", "dataset_name", sources) == "mnli"
    assert root_of("hidden.last") == "hidden"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("output.preds", "'output.preds': no source named 'output'\nhint: known: outputs, batch"),
        (
            "outputs.pred",
            "metric argument `x: outputs.pred`: no such value; `outputs` has preds",
        ),
        ("batch.labels", "`batch` has NoneType"),
    ],
)
def test_a_path_that_leads_nowhere_says_what_is_there(path, message):
    with pytest.raises(ConfigError) as error:
        resolve("x", path, {"outputs": {"preds": 1}, "batch": None})
    assert message in str(error.value)


def test_step_outputs_are_chosen_by_key_and_by_glob():
    values = {"logits": 1, "loss": 2, "labels": 3}
    assert chosen("outputs", values, "l*s") == {"logits": 1, "loss": 2, "labels": 3}
    assert chosen("outputs", values, "loss") == {"loss": 2}
    assert chosen("outputs", values, "x*") == {}
    with pytest.warns(UserWarning, match=r"step_outputs.batch: no key 'label' in logits"):
        assert chosen("batch", values, "label") == {}
