"""A Hydra app that knows nothing of trident: it says who it is, and does what it is told."""

import json
import os
import signal
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
    if cfg.get("polite"):  # as many a framework, it ends by 0 when it is told to end
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    time.sleep(cfg.sleep)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK", "MASTER_PORT", "CUDA_VISIBLE_DEVICES")
    record: dict[str, Any] = {
        name: os.environ[name] for name in (*names, "OMP_NUM_THREADS", "TRIDENT_ATTEMPT")
    }
    record |= {"cwd": str(Path.cwd())}
    record |= {"started": started, "ended": time.time(), "cfg": OmegaConf.to_container(cfg)}
    directory = Path(os.environ["TRIDENT_ATTEMPT_DIR"])
    (directory / f"said-{rank}.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
