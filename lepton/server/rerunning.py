"""Try the ways of the pool out: `python -m lepton.server.rerunning` reads a `Rerun` that a server of its own user has
pickled from standard input, writes the mean time to completion by each way as JSON to standard output, and is gone.
"""

import json
import pickle
import sys

from lepton.pool.live.rerun import means_of
from lepton.server.apart import confine


def main() -> None:
    """Jobs in, means out."""
    confine()
    print(json.dumps(means_of(pickle.load(sys.stdin.buffer))))  # noqa: T201  the answer


if __name__ == "__main__":
    main()
