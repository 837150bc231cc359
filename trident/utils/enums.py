"""The splits of the data, and which of them a stage reads."""

from __future__ import annotations

from enum import Enum

__all__ = ["STAGES", "Split"]


class Split(Enum):
    """A part of the data; the value is its name in configs and metric names."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
    PREDICT = "predict"


STAGES = {
    "fit": (Split.TRAIN, Split.VAL),
    "validate": (Split.VAL,),
    "test": (Split.TEST,),
    "predict": (Split.PREDICT,),
    None: tuple(Split),
}
"""The splits that each of Lightning's stages reads; None stands for all stages."""
