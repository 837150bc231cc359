"""Programs that are not the engine: the ways in which they report metrics."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from typed import Cli

REPORTS = """
import os
import subprocess
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig

from trident.protocol.metrics import report_metrics

HELPER = "from trident.protocol.metrics import report_metrics; report_metrics({'helper': 5})"


@hydra.main(config_path=None, version_base="1.3")
def main(cfg):
    rank = int(os.environ.get("RANK", 0))
    report_metrics({"loss": cfg.x + rank, f"of_{rank}": rank}, step=30 + rank, steps=40)
    if rank == 0:
        subprocess.run([sys.executable, "-c", HELPER], check=True)
        output = Path(HydraConfig.get().runtime.output_dir)
        (output / "csv").mkdir(exist_ok=True)
        (output / "csv" / "metrics.csv").write_text("step,acc,val\\n1,0.5,\\n2,,0.25\\n")
        if cfg.x == 2 and not Path("healed").exists():
            report_metrics({"first": 1})
            sys.exit("told to fail")
    return cfg.x * 10 if rank == 0 else None


main()
"""


def test_an_app_reports_by_a_call_by_what_it_returns_and_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(REPORTS)
    alone = subprocess.run(
        [sys.executable, "train.py", "+x=3", "hydra.run.dir=alone"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (alone.returncode, alone.stdout, alone.stderr) == (0, "", "")
    cli = Cli(tmp_path)
    cli(
        "submit", "--app", "python train.py", "--name", "s", "--wait", "+x=1,2",
        "hydra.launcher.tasks_per_node=2", "hydra.launcher.ranks=none", "hydra.launcher.metrics=*/metrics.csv", code=1,
    )  # fmt: skip
    (tmp_path / "healed").touch()
    (tmp_path / "logs/sweeps/s/members/0001/csv/metrics.csv").write_text("step,stale\n1,1\n")
    cli("resume", "s", "--wait")
    progress = {(m["attempt"], m["step"], m["steps"]) for m in cli.members("s")}
    assert progress == {(0, 30, 40), (1, 30, 40)}
    for row in json.loads(cli("results", "s", "--json").stdout):
        x = row["params"]["x"]
        assert row["metrics"] == {
            "acc": 0.5, "val": 0.25, "loss": x, "of_0": 0, "helper": 5, "of_1": 1, "return_value": 10 * x
        }  # fmt: skip
        assert (row["optimized_metric"], row["warnings"]) == ("return_value", [])
    table = cli("results", "s", "--metric", "loss", "--metric", "return_value").stdout
    assert re.search(r"COMPLETED +2 +2 +20", table)


def test_without_its_file_results_say_so(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(REPORTS)
    cli = Cli(tmp_path)
    words = ("submit", "--app", "python train.py", "+x=1", "--name", "s", "--wait")
    refused = cli(*words, "hydra.launcher.metrics=/tmp/metrics.csv", code=2).stderr
    assert "expected a path within the member's directory" in refused
    cli(*words, "hydra.launcher.metrics=metrics.json")
    said = cli("results", "s").stderr
    assert (
        "member 0: hydra.launcher.metrics=metrics.json: the member's directory has no such file"
        in said
    )
