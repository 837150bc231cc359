"""Names of a closed set."""

from __future__ import annotations

from enum import Enum

__all__ = ["STAGES", "Split"]


class Split(Enum):
    """The part of the data that is meant; the value is its name in configs and metric names."""

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
"""The splits that Lightning's stages read."""
