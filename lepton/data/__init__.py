"""Station 1: files come in, become dataset versions, and are cleaned."""
