"""A project in the style of lightning-hydra-template, which knows nothing of trident."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

ROOT = next(p for p in Path(__file__).resolve().parents if (p / ".project-root").exists())


@hydra.main(version_base="1.3", config_path="../configs", config_name="train.yaml")
def main(cfg: DictConfig) -> float:
    assert (ROOT / "configs" / "train.yaml").is_file()
    return float(1 - (cfg.model.lr - 0.3) ** 2)


if __name__ == "__main__":
    main()
