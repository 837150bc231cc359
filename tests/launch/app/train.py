"""A Hydra app that knows nothing of trident: it says who it is, and does what it is told."""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf


@hydra.main(config_path="conf", config_name="top", version_base="1.3")
def main(cfg: DictConfig) -> None:
    started = time.time()
    rank = int(os.environ["RANK"])
    sys.stdout.write(f"rank {rank} says {cfg.word}\n")
    sys.stdout.flush()
    if cfg.fail_rank == rank and not Path(cfg.healed).exists():
        raise ValueError(f"told to fail: {cfg.word}")
    if cfg.get("eats_mb"):
        hoard = bytearray(cfg.eats_mb * 2**20)
        hoard[::4096] = b"x" * len(hoard[::4096])
    if cfg.get("polite"):  # as many a framework, it ends by 0 when it is told to end
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if cfg.get("meets"):
        meet(rank)
    while time.time() < started + cfg.sleep:
        if rank == 0 and Path(cfg.get("alone", "/nonexistent")).exists():
            raise ConnectionError("closed by peer")
        time.sleep(min(0.1, cfg.sleep))
    record: dict[str, Any] = dict(os.environ)
    record |= {"cwd": str(Path.cwd()), "host": socket.gethostname()}
    record |= {"started": started, "ended": time.time(), "cfg": OmegaConf.to_container(cfg)}
    directory = Path(os.environ["TRIDENT_ATTEMPT_DIR"])
    (directory / f"said-{rank}.json").write_text(json.dumps(record))


def meet(rank: int) -> None:
    """Connect as libraries do: rank 0 listens at MASTER_PORT, and waits for the others."""
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if rank == 0:
        with socket.create_server(place) as server:
            for _ in range(int(os.environ["WORLD_SIZE"]) - 1):
                server.accept()[0].close()
        return
    for _ in range(100):
        try:
            socket.create_connection(place).close()
            return
        except OSError:
            time.sleep(0.1)


if __name__ == "__main__":
    main()
