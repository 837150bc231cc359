"""The directory that a worker puts first on PYTHONPATH, so that each Python program of a rank records how it ends.

Its modules are imported by their own names, also in environments without trident. They import only what every Python
has, and as little of that as possible, since every program of a rank loads them.
"""
