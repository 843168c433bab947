"""Station 2: a gang of workers turns a dataset version into a model version."""
