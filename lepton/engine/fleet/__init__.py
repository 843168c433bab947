"""The fleet: pretend machines on the wall clock, for trying out policies and servers. Nothing runs."""

from lepton.engine.fleet.engine import FleetEngine

__all__ = ["FleetEngine"]
