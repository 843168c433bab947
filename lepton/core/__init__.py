"""Words that every part of Lepton shares. Standard library only, no I/O."""

__version__ = "0.1.0"
