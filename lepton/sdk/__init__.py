"""The Python door: typed calls over HTTP. Knows core only."""
