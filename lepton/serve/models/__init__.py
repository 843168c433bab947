"""Models that are served without code: each kind of file is a function of named tensors, and they share one program."""
