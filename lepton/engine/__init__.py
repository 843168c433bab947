"""Hands that run things: an engine starts, watches and stops the workers it is told to."""
