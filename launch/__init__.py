"""The launcher layer."""
