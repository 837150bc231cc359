"""Module, datamodule and dataspec: the three objects that a config describes."""
