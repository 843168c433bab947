"""Lepton, the AI cloud you own: submit a job, get a result, on the machines you have."""

__version__ = "0.1.0"
