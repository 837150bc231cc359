"""The error for mistakes of the user, with a message that says how to correct them."""

from __future__ import annotations

__all__ = ["ConfigError"]


class ConfigError(ValueError):
    """A config cannot be run; the message says what was wrong, what was expected, and has a hint on its own line.

    A run that ends with it exits with 2, and shows the message without a traceback.
    """
