"""Where the command `lepton` begins: Ctrl-C while its modules are read ends it, without a traceback."""

import signal
from importlib import import_module


def main() -> None:
    """Read the command line's modules, then run it."""
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    run = import_module("lepton.cli.main").main
    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()
