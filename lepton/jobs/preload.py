"""What the stages' workers would like to find imported. One set for several stages: they share one warm zygote.

A name that cannot be imported where a worker runs is passed over there.
"""

LIGHT = (
    "lepton.data.run",
    "lepton.observe.run",
    "lepton.serve.run",
    "lepton.serve.front",
    "lepton.serve.hosted",
    "lepton.serve.inference",
    "encodings.idna",
)
"""numpy, onnxruntime and pydantic: for workers that must stay small, or live long."""
TORCH = ("lepton.train.run", "lepton.optimize.run")
"""PyTorch as well: some 270 MB and 3 s of import."""
AHEAD = {"data": TORCH}
"""Stage -> what the stage after it will want, where it takes long to make ready."""
