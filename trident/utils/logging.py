"""Loggers that write a message once per run, and not once per process."""

from __future__ import annotations

import logging
import os

from trident.protocol.ranks import is_main_process

__all__ = ["get_logger"]


def _on_main_process(_record: logging.LogRecord) -> bool:
    return is_main_process(os.environ)


def get_logger(name: str = __name__, level: int = logging.INFO) -> logging.Logger:
    """A logger whose records are dropped on ranks above 0."""
    logger = logging.getLogger(name)
    logger.setLevel(level)
    logger.addFilter(_on_main_process)  # the same function is added once only
    return logger
