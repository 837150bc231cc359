"""The scripts that start an array, readable by an administrator."""
