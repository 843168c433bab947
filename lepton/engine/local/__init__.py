"""The local engine: supervised processes on this machine, which survive the server that started them."""

from lepton.engine.local.engine import LocalEngine

__all__ = ["LocalEngine"]
