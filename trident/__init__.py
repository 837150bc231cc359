"""YAML-configured training on Hydra, Lightning, transformers and datasets."""
