"""A Hydra app that fails in the way that its config names."""

import os
import subprocess
import sys

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig


@hydra.main(config_path="conf", config_name="top", version_base="1.3")
def main(cfg: DictConfig) -> None:
    from src import parts

    if cfg.fault in ("label", "huge"):
        instantiate({"_target_": "src.parts.Label", "name": cfg.fault})
    elif cfg.fault == "quiet":  # Hydra prints the exception itself, and exits
        os.environ.pop("HYDRA_FULL_ERROR")
        instantiate({"_target_": "src.parts.read", "path": "{"})
    elif cfg.fault == "child":
        child = "from src.parts import read; read('{')"
        subprocess.run([sys.executable, "-c", child], check=True)
    else:
        getattr(parts, cfg.fault)()


if __name__ == "__main__":
    main()
