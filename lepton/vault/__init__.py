"""Bytes at rest: content-addressed objects behind a small driver interface."""
