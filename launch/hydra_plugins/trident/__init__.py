"""Hydra's plugins from trident: the launchers, and the search path of the config groups that trident ships.

Hydra executes these modules on every start of every Hydra app in the environment: they stay small and import
nothing heavy, and no module here may use ``from __future__ import annotations`` with a dataclass (Hydra executes a
module before it is in ``sys.modules``, where dataclasses look the annotations up).
"""
