"""The templates of the scripts that start an array."""
