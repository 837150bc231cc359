"""Lightning gets the ranks that were started, and a config that contradicts them is refused."""

from __future__ import annotations

import pytest
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from trident.errors import ConfigError
from trident.protocol.ranks import Ranks
from trident.trainer.environment import RanksEnvironment, cluster_environment, trainer_size

RANKS = Ranks(
    rank=3,
    local_rank=1,
    node_rank=1,
    world_size=4,
    local_world_size=2,
    master_addr="n1",
    master_port=12345,
    source="slurm",
)


@pytest.mark.parametrize("devices", ["auto", -1, "-1", None, 2, "2", [0, 1], "0,1"])
@pytest.mark.parametrize("num_nodes", [None, 2])
def test_the_ranks_size_the_trainer(devices, num_nodes):
    config = {"devices": devices, "num_nodes": num_nodes}
    assert trainer_size(config, RANKS) == {"devices": 2, "num_nodes": 2}
    assert trainer_size({}, None) == {}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"devices": 4}, "trainer.devices=4, but 2 processes on each node .*slurm"),
        ({"devices": "0,1,2"}, "trainer.devices=3, but 2"),
        ({"num_nodes": 1}, "trainer.num_nodes=1, but 2 nodes"),
    ],
)
def test_a_contradiction_is_refused_with_both_numbers(config, message):
    with pytest.raises(ConfigError, match=message) as error:
        trainer_size(config, RANKS)
    assert "\nhint: " in str(error.value)


def test_lightning_gets_the_ranks(monkeypatch):
    environment = RanksEnvironment(RANKS)
    assert environment.creates_processes_externally
    assert (environment.global_rank(), environment.local_rank(), environment.node_rank()) == (
        3,
        1,
        1,
    )
    assert (environment.world_size(), environment.main_address, environment.main_port) == (
        4,
        "n1",
        12345,
    )
    environment.validate_settings(num_devices=2, num_nodes=2)
    assert type(cluster_environment(RANKS)) is RanksEnvironment
    # Variables of a job that started no ranks mean nothing.
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert type(cluster_environment(None)) is LightningEnvironment


@pytest.mark.parametrize("devices", [[2, 3], "2,3"])
def test_gpus_by_name_stay(devices, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert trainer_size({"devices": devices}, RANKS) == {"num_nodes": 2}
