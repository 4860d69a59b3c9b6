"""The module of a class that only the newer version of the simulated bot trusts."""

from __future__ import annotations

from tests.simulation.values import Plan

__all__ = ["Plan"]
