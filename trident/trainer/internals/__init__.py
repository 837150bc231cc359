"""The private names of other libraries that trident depends on, one module per library; no other module uses any.

If a library changes one of them, `tests/trident/trainer/test_internals.py` fails and names what depends on it.
"""
