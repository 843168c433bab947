"""Traces that are made, as large as one wants them: to see how the cost of deciding grows."""

import numpy as np

from lepton.pool.trace import Cluster, Trace

SIZES = (1, 2, 4, 8, 16, 32, 64)
SHARES = (0.55, 0.1, 0.1, 0.18, 0.04, 0.02, 0.01)
"""Of jobs that want so many devices, about as on Venus."""
USERS = 200


def made(jobs: int, nodes: int, *, load: float = 0.95, seed: int = 0) -> tuple[Trace, Cluster]:
    """A trace of one queue: run times log-normal, submits uniform; `load` is what it asks of the nodes."""
    chance = np.random.default_rng(seed)
    gpus = chance.choice(SIZES, jobs, p=SHARES)
    duration = np.exp(chance.normal(6, 2, jobs)).clip(1, 1e6).round()
    span = (gpus * duration).sum() / (nodes * 8 * load)
    return Trace(
        name="made",
        id=[str(job) for job in range(jobs)],
        queue=np.zeros(jobs, np.int64),
        queues=["all"],
        user=chance.integers(0, USERS, jobs),
        users=[str(user) for user in range(USERS)],
        submit=np.sort(chance.uniform(0, span, jobs)).round(),
        duration=duration,
        gpus=gpus,
        cpus=gpus,
    ), Cluster(nodes={"all": nodes})
