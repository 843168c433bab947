"""Hands that remember: SQLite or Postgres, one file per aggregate."""
