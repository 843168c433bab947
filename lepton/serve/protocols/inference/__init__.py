"""The Open Inference Protocol, version 2: models as named tensors, over REST."""
