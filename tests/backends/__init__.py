"""Real storage servers for tests: each a context that starts one on loopback and ends it, whatever happens."""
