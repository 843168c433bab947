"""Imported first, by a replica or its zygote and nobody else: sets what Keras and Hugging Face read at their import."""

import os

VALUES = {
    "KERAS_BACKEND": "torch",
    "HF_HUB_OFFLINE": "1",  # nothing is fetched
}
os.environ.update(VALUES)
