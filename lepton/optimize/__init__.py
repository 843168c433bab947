"""Station 3: a model is exported, measured, and kept where it is faster and no worse."""
