"""Two real processes over gloo read each sample once, and report what one process reports."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
from support import (
    APART,
    APART_FIT,
    BARE,
    BY_NODE,
    EVALUATED,
    ONE_EPOCH,
    PROJECT,
    call,
    finish,
    logged,
    result,
    samples_read,
    start,
)

from trident.protocol.records import METRICS, read_lines

SPLITS = {
    "odd": (25, 4),
    "manual": (24, 2),
    "stream": (24, 2),
    "sampler": (24, 2),
    "lightning": (24, 2),
    "by_node": (24, 2),
    "by_node_stream": (24, 2),
    "by_node_then_step": (23, 2),
    "prepared": (24, 2),
}
"""Ways to split training data, the samples that they leave, and each rank's steps an epoch."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("alone")
    assert call(directory) == 0
    return directory


@pytest.fixture(scope="module")
def both(tmp_path_factory, alone) -> Path:
    root = tmp_path_factory.mktemp("both")
    script = str(Path(__file__).parent / "two_ranks.py")
    best = result(alone)["checkpoint"]["best"]
    lines = [{"ids": i, "labels": i % 3, "x": [i % 2, 1.0, 0.0, 2.0]} for i in range(24)]
    (root / "rows.json").write_text("\n".join(map(json.dumps, lines)))
    codes, output = finish(start([script, str(root), best], world_size=2, warm=True))
    ended = {path.name: int(path.read_text()) for path in root.glob("*.exit.*")}
    refused = [
        *("unsplit", "refused", "devices", "unalike", "by_the_clock", "limited_by_hand"),
        *("drop_all", "by_node_wrong", "by_node_tested", "by_node_validated"),
    ]
    wrong = {**dict.fromkeys(refused, 2), "bad": 1, "broken": 1}
    (root / "output.txt").write_text(output)
    for name in (
        "fit",
        "predict",
        "foreign",
        "uneven",
        "pad",
        "drop",
        *EVALUATED,
        "both_sequential",
        "both_max_size",
        "counted",
        "apart",
        "apart_one",
        "apart_fit",
        "judged_uneven",
        "judged",
        *SPLITS,
        *wrong,
    ):
        for rank in range(2):
            assert ended.get(f"{name}.exit.{rank}") == wrong.get(name, 0), (name, output[-5000:])
    assert codes == [0, 0]
    return root


def evaluated(name: str, directory: Path, both: Path, alone: Path) -> tuple[dict, dict]:
    """The metrics of both ranks, and of one process that begins with the same checkpoint."""
    best = f"run.ckpt_path='{result(alone)['checkpoint']['best']}'"
    assert call(directory, *BARE, *EVALUATED[name], best) == 0
    return result(both / name)["metrics"], result(directory)["metrics"]


def seen(root: Path, name: str) -> list[list[list[int]]]:
    """Batches of ids by rank."""
    files = [(root / name / f"seen.{rank}").read_text() for rank in range(2)]
    return [[json.loads(line) for line in text.splitlines()] for text in files]


def test_a_fit_is_that_of_one_process(both, alone):
    many, one = result(both / "fit"), result(alone)
    assert many["steps"] == one["steps"] == 9
    names = [name for name in one["metrics"] if name != "train/loss"]  # the rank's own batch's
    for name in names:
        assert many["metrics"][name] == pytest.approx(one["metrics"][name], abs=1e-5), name
    assert many["score"] == pytest.approx(one["score"])
    assert Path(many["checkpoint"]["best"]).name == Path(one["checkpoint"]["best"]).name


def test_ranks_share_each_epochs_samples_and_epochs_differ(both):
    ranks = seen(both, "fit")
    assert [len(batches) for batches in ranks] == [9, 9]
    epochs = []
    for epoch in range(3):
        batches = [of_rank[3 * epoch : 3 * epoch + 3] for of_rank in ranks]
        read = list(chain.from_iterable(chain.from_iterable(batches)))
        assert Counter(read) == Counter(range(24))
        epochs.append(read)
    assert len({tuple(read) for read in epochs}) == 3


@pytest.mark.parametrize("name", SPLITS)
def test_every_sample_once_when_sizes_are_odd_or_users_split(name, both):
    ranks = seen(both, name)
    size, steps = SPLITS[name]
    assert [len(batches) for batches in ranks] == [3 * steps] * 2
    read = Counter(chain.from_iterable(chain.from_iterable(ranks)))
    assert read == Counter({index: 3 for index in range(size)})
    known = read_lines(both / name / METRICS)[0]["steps"]  # which a schedule was built with
    assert known == (None if "stream" in name else 3 * steps)
    assert result(both / name)["steps"] == 3 * steps


@pytest.mark.parametrize("name", ["sampler", "lightning", "by_node", "prepared"])
def test_ranks_keep_to_their_part_and_epochs_differ(name, both):
    """Each epoch is a new order, whoever made the sampler."""
    steps = SPLITS[name][1]
    for batches in seen(both, name):
        epochs = [list(chain.from_iterable(batches[i * steps : (i + 1) * steps])) for i in range(3)]
        assert len({tuple(epoch) for epoch in epochs}) == 3


def test_ranks_whose_streams_differ_in_length_end_each_epoch_together(both):
    """9 and 8 samples: two batches and one, and a filler."""
    first, second = seen(both, "uneven")
    assert [len(first), len(second)] == [6, 6]
    fillers = second[1::2]
    assert fillers == second[::2]
    read = Counter(chain.from_iterable([*first, *second[::2]]))
    assert read == Counter({index: 3 for index in range(17)})
    assert result(both / "uneven")["steps"] == 6


def test_other_ends_of_uneven_streams_are_chosen_and_said(both):
    """The first batch is the second rank's second, or both second batches are left out."""
    (first, second), said = seen(both, "pad"), (both / "output.txt").read_text()
    assert [len(first), len(second)] == [6, 6] and second[1::2] == second[::2]
    read = Counter(chain.from_iterable([*first, *second]))
    assert read == Counter({index: 6 if index in second[0] else 3 for index in range(17)})
    assert said.count("batches repeated in this epoch, since the ranks' parts differ") == 3 + 1, (
        "and max_size's"
    )
    assert "rank 0: 0, rank 1: 1" in said
    first, second = seen(both, "drop")
    assert [len(first), len(second)] == [3, 3]
    read = Counter(chain.from_iterable([*first, *second]))
    assert set(read.values()) == {3} and len(read) == 16
    assert (
        said.count("samples left out (at least) in this epoch, since the ranks' parts differ") == 3
    )
    assert result(both / "pad")["steps"] == 6 and result(both / "drop")["steps"] == 3


def test_streams_are_evaluated_as_by_one_process(both, alone, tmp_path):
    """Also by metrics whose states are lists, on a rank without samples."""
    many, one = evaluated("streams", tmp_path, both, alone)
    assert {"one/test/auroc", "other/test/order"} < set(one)
    assert many == pytest.approx(one, abs=1e-6)


def test_kinds_of_metrics_are_those_of_one_process(both, alone, tmp_path):
    many, one = evaluated("kinds", tmp_path, both, alone)
    kinds = {"at_end", "one", "two", "hit", "miss", "more", "inside", "inside_step"}
    assert {f"other/test/{name}" for name in kinds} < set(one)
    # Of one value a batch, the mean is one over batches, which are others: it is said.
    assert many.pop("other/test/mean_loss") != one.pop("other/test/mean_loss")
    said = (both / "output.txt").read_text()
    assert said.count("loss is one value per batch, and that of a short batch weighs as much") == 1
    assert many == pytest.approx(one, abs=1e-6) and one["other/test/more"] == 13
    assert many["other/test/inside"] == many["other/test/acc"] == one["other/test/inside_step"]


def test_a_batch_weighs_as_many_samples_as_it_has(both, alone, tmp_path):
    many, one = evaluated("edged", tmp_path, both, alone)
    assert many["other/test/step_acc"] == pytest.approx(many["other/test/acc"])
    assert one["other/test/step_acc"] == pytest.approx(many["other/test/acc"])


@pytest.mark.parametrize("limit", ["2", "0.6"])
def test_a_limit_leaves_the_samples_of_one_process(limit, both, alone, tmp_path):
    many, one = evaluated(f"limited_{limit}", tmp_path, both, alone)
    assert many == pytest.approx(one, abs=1e-6)
    assert one["odd/test/right"] + one["odd/test/wrong"] == {"2": 8, "0.6": 12}[limit]


def test_a_module_that_evaluates_by_itself_counts_no_fillers(both, tmp_path):
    assert call(tmp_path, *APART, *BARE) == 0
    many, one = result(both / "apart")["metrics"], result(tmp_path)["metrics"]
    assert many == pytest.approx(one, abs=1e-6)
    assert many["test/samples"] == many["test/sum"] == 9
    one = result(both / "apart_one")["metrics"]
    assert one["test/samples"] == one["test/sum"] == 1, "of which one rank has none"


def test_what_a_module_logs_at_an_epochs_end_is_logged_by_all_ranks(both, tmp_path):
    """At the second validation, a rank with fillers waited without end for others to reduce the first one's value."""
    assert call(tmp_path, *APART_FIT, *BARE) == 0
    many, one = result(both / "apart_fit")["metrics"], result(tmp_path)["metrics"]
    assert many == one and many["val/sum"] == 9 and many["val/again"] == 1


def test_what_training_counts_counts_no_fillers(both):
    metrics = result(both / "counted")["metrics"]
    assert metrics["train/samples"] == metrics["train/sum"] == 17


def test_ranks_decide_alike_by_what_training_logs(both):
    """Each has a loss of its own; a schedule that goes by it once gave them other weights."""
    traces = [
        list(map(json.loads, (both / f"judged.trace.{rank}").read_text().splitlines()))
        for rank in range(2)
    ]
    rates = [[line[3] for line in trace if line[0] == "step"] for trace in traces]
    assert rates[0] == rates[1] and rates[0][0] > rates[0][-1]
    assert traces[0][-1] == traces[1][-1] and traces[0][-1][0] == "end"


def test_a_sweep_with_one_task_a_node(tmp_path):
    project = shutil.copytree(PROJECT, tmp_path / "project")
    sweep = ["-m", "trident.launch.cli", "submit", "hydra/launcher=trident_local", "--wait"]
    sweep += ["hydra.launcher.nodes=2", *ONE_EPOCH, BY_NODE, logged(tmp_path)]
    codes, output = finish(start(sweep, project=project))
    assert codes == [0], output
    assert samples_read(tmp_path) == list(range(24))


def test_data_is_prepared_once_a_node(both):
    assert sorted(map(int, (both / "mapped.0").read_text().split())) == list(range(24))
    assert not (both / "mapped.1").exists()


def test_predictions_of_two_ranks_are_in_the_data_sets_order(both):
    record = result(both / "predict")
    path = Path(record["predictions"]["seven"])
    assert path == both / "predict/predictions/seven.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["ids"] for line in lines] == list(range(7))
    names = ("seven", "even", "uneven", "in_turn", "own", "rebuilt", "single", "single_stream")
    written = {f"{name}.jsonl" for name in names}
    assert {path.name for path in path.parent.iterdir()} == written


def test_predictions_of_a_stream_are_in_its_order_unless_workers_take_turns(both):
    found = {}
    for name in ("even", "uneven", "in_turn", "own", "rebuilt"):
        lines = (both / f"predict/predictions/{name}.jsonl").read_text().splitlines()
        found[name] = [json.loads(line)["ids"] for line in lines]
    assert all(found.pop(name) == list(range(17)) for name in [*found] if name != "in_turn")
    assert sorted(found["in_turn"]) == list(range(17))
    for name in ("single", "single_stream"):  # of which one rank has no samples
        (line,) = (both / f"predict/predictions/{name}.jsonl").read_text().splitlines()
        assert json.loads(line)["ids"] == 0
    said = (both / "output.txt").read_text()
    assert said.count("loader workers read this stream in turn") == 1
    assert "in_turn: 2 loader workers read this stream in turn" in said
    reads = (
        "datamodule.predict.uneven: 3 shards on 2 ranks: each rank reads and prepares all samples"
    )
    assert said.count(reads) == 1


def test_one_checkpoint_tests_the_same_on_one_and_two_ranks(both, alone, tmp_path):
    """Also a set of which one rank has no samples."""
    many, one = evaluated("test", tmp_path, both, alone)
    assert many == pytest.approx(one, abs=1e-6)
    assert (
        one.items() >= {k: v for k, v in result(alone)["metrics"].items() if "/test/" in k}.items()
    )
    for name in ("other", "odd", "tiny"):
        for count in ("right", "wrong", "order"):
            assert many[f"{name}/test/{count}"] == one[f"{name}/test/{count}"]


def test_uneven_streams_of_several_sets(both):
    """17 samples are two batches on one rank, one on the other; 24 are two on each."""
    sequential, together = (both / f"both_{mode}" for mode in ("sequential", "max_size"))
    assert result(sequential)["metrics"]["train/sum"] == 17 + 24, "fillers are no samples"
    assert result(together)["metrics"]["train/sum"] == 17 + 8 + 24, "a batch is padded, and counts"
    for folder in (sequential, together):
        read = set(chain.from_iterable(chain.from_iterable(seen(both, folder.name))))
        assert read == {*range(17), *range(100, 124)}


def test_a_datamodule_that_may_not_split_is_warned_of(both):
    said = (both / "output.txt").read_text()
    assert said.count("each of 2 ranks reads all data, unless Plain gives each its own part") == 1


def test_only_rank_zero_writes(both):
    record = result(both / "fit")
    assert record["ranks"] == {
        "rank": 0,
        "local_rank": 0,
        "node_rank": 0,
        "world_size": 2,
        "local_world_size": 2,
        "num_nodes": 1,
        "source": "environment",
    }
    steps = [(line["stage"], line["step"]) for line in read_lines(both / "fit" / METRICS)]
    assert steps.count(("test", 9)) == 1
    assert len(list((both / "fit/csv").iterdir())) == 1
    assert (both / "fit/.hydra/config.yaml").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("refused", "1 training samples cannot be split over 2 ranks"),
        (
            "by_node_wrong",
            "datamodule.train.toy: of its 2 parts by split_dataset_by_node, parts read by several ranks: 0; "
            "parts read by no rank: 1\n"
            "rank  reads        of          split by                        workers\n"
            "0     part 0 of 2  12 samples  split_dataset_by_node (0 of 2)  0\n"
            "1     part 0 of 2  12 samples  split_dataset_by_node (0 of 2)  0\n"
            "hint: NODE_RANK is the rank only with one process a node; leave every split out",
        ),
        *(
            (
                f"by_node_{how}",
                f"datamodule.{split}: of its 2 parts by split_dataset_by_node, parts read by several ranks: 0; "
                "parts read by no rank: 1\n",
            )
            for how, split in (("tested", "test.other"), ("validated", "val.odd"))
        ),
        (
            "unsplit",
            "datamodule.train.toy: rank 0 reads all of it, and so do the others: nothing splits it over "
            "2 ranks\nrank  reads       of          split by  workers\n"
            "0     everything  24 samples  nothing   0\n",
        ),
        (
            "unalike",
            "depends on train/own, which differs between ranks: 0.0, 1.0\nhint: self.log('train/own'",
        ),
        (
            "drop_all",
            "toy: rank 1 has no samples of it, and `datamodule.uneven=drop` ends an epoch",
        ),
        (
            "limited_by_hand",
            "other: trident does not split it over the ranks, so a limit of 0.6 cannot be applied",
        ),
        ("by_the_clock", "is a time, and each of 2 ranks measures its own"),
        ("devices", "trainer.devices=3, but 2 processes on each node were started"),
        ("bad", "this metric fails"),
        ("broken", "toy: rank 1 could not read its part"),
    ],
)
def test_failures_end_all_ranks_and_are_recorded(name, message, both):
    record = result(both / name)
    assert record["state"] == "failed"
    before_training = {"refused", "unsplit", "by_the_clock", "devices"}
    before_training |= {"by_node_wrong", "by_node_tested", "by_node_validated"}
    assert not (name in before_training and list((both / name).glob("seen.*")))
    assert message in record["exception"]["message"]
