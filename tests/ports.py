"""Ports that nobody takes between the look and the use: below those that the system gives to who asks for any."""

import random
import socket

LOW, HIGH = 20_000, 32_000


def free_port() -> int:
    """One that nobody listens at now."""
    for port in random.SystemRandom().sample(range(LOW, HIGH), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"none of 200 ports from {LOW} to {HIGH} is free")
