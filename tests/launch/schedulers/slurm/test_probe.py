"""The doctor's job as the login node sees it, with programs that print a text, and a thread as its nodes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trident.launch.errors import LaunchError
from trident.launch.schedulers.slurm import probe as module
from trident.launch.schedulers.slurm.probe import Probe
from trident.launch.schedulers.slurm.probe_files import ProbeFiles
from trident.protocol.records import write_json

Fake = Callable[..., Path]
QUEUE = "JOBID|STATE|START_TIME|REASON|NAME\n"
OPTIONS = {"timeout_min": 60, "signal_delay_s": 120, "partition": "gpu", "setup": ["module load x"]}


@pytest.fixture(autouse=True)
def slurm(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SLURM's programs; the queue is empty. Returns the file of sbatch's calls."""
    monkeypatch.setattr(module, "QUERY_S", 0.01)
    fake("squeue", QUEUE)
    fake("sacct")
    fake("scancel")
    return fake("sbatch", "7\n")


def nodes_answer(files: ProbeFiles) -> None:
    """What the job does on nodes n1 and n2."""
    while not files.script.exists():
        time.sleep(0.001)
    for host in ("n1", "n2"):
        write_json(files.hello(host), {"host": host, "version": "1"})
        write_json(files.peers(host), {"peers_s": {"n1": 0.1, "n2": 0.1}})
    while not files.ping.exists():
        time.sleep(0.001)
    for host in ("n1", "n2"):
        write_json(files.pong(host), {"time": time.time() + (host == "n2") * 60})
    write_json(files.head, {"met_s": 0.5})
    for host in ("n1", "n2"):
        write_json(files.gloo(host), {"gloo": {"s": 2.5}})


def test_each_node_is_measured(tmp_path: Path, slurm: Path) -> None:
    probe = Probe(tmp_path / "f", OPTIONS, nodes=2, version="1")
    thread = threading.Thread(target=nodes_answer, args=[probe.files])
    thread.start()
    said: list[str] = []
    probe.examine(said.append, patience=60)
    thread.join()
    assert said == ["job 7_0 on 2 nodes, at most 5 min; ctrl-C ends it"]
    assert sorted(probe.nodes) == ["n1", "n2"] and probe.head == {"met_s": 0.5}
    for host, skew in (("n1", 0), ("n2", 60)):
        node = probe.nodes[host]
        assert node["peers_s"] == {"n1": 0.1, "n2": 0.1} and node["gloo"] == {"s": 2.5}
        assert node["round_trip_s"] > 0
        assert node["skew_s"] == pytest.approx(skew, abs=node["round_trip_s"])
    probe.remove_files()
    assert not (tmp_path / "f").exists()


def test_a_job_that_ends_without_a_report_leaves_its_output(tmp_path: Path) -> None:
    probe = Probe(tmp_path / "f", OPTIONS, nodes=2, version="1")

    def job_prints(line: str) -> None:
        probe.files.log.write_text("srun: error\n")

    probe.examine(job_prints, patience=60)
    assert (probe.nodes, probe.head, probe.log) == ({}, {}, "srun: error")


def test_a_job_that_does_not_start_is_cancelled_and_its_reason_is_shown(
    tmp_path: Path, fake: Fake
) -> None:
    fake("squeue", "7_0|PENDING|N/A|Resources|trident-doctor\n")
    cancelled = fake("scancel")
    probe = Probe(tmp_path / "f", OPTIONS, nodes=2, version="1")
    with pytest.raises(LaunchError, match="job 7_0 did not start: Resources"):
        probe.examine(lambda line: None, patience=0)
    assert cancelled.read_text() == "7_0\n"


def test_the_script_is_an_array_of_one_task_and_is_checked_first(
    tmp_path: Path, slurm: Path
) -> None:
    probe = Probe(tmp_path / "100%", OPTIONS, nodes=2, version="1")
    probe.examine(lambda line: None, patience=60)
    text = probe.files.script.read_text()
    for line in ("--array=0", "--nodes=2", "--partition=gpu", "--time=5"):
        assert f"#SBATCH {line}\n" in text
    assert f"#SBATCH --output={tmp_path}/100%%/log\n" in text and "\nmodule load x\n" in text
    assert slurm.read_text().splitlines() == ["--test-only", f"--parsable {probe.files.script}"]
