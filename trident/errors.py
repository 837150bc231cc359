"""What a user did wrong, said so that it can be mended."""

from __future__ import annotations

__all__ = ["ConfigError"]


class ConfigError(ValueError):
    """A config that cannot be run: what was wrong, what was expected, and a hint on its own line.

    A run that ends by it exits with 2, and shows the message without a traceback.
    """
