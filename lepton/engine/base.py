"""The port of every engine: a place that can run a `Launch`. It obeys; it never decides.

Order, quota and placement are `pool/`'s. An engine is opened by the dotted name of its class (see `open_engine`),
so that nobody imports a cluster's library by accident. One contract suite runs over all engines:
`tests/contract/test_engines.py`.
"""

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, Protocol, cast

from lepton.core.errors import ConfigError
from lepton.core.launch import Launch, NodeFacts, Sighting

ENGINES = {
    "local": "lepton.engine.local:LocalEngine",
    "fleet": "lepton.engine.fleet:FleetEngine",
    "simulated": "lepton.engine.simulated:SimulatedEngine",
}
"""Name in the settings -> class."""


class Engine(Protocol):
    """A place that can run work. Every method is thread-safe, quick, and may be called again after a crash."""

    def nodes(self) -> Iterable[NodeFacts]:
        """The machines it can run on now, with what they have."""
        ...

    def start(self, launch: Launch) -> None:
        """Start it; a second call with the same key does nothing, even after the first has ended.

        Raises:
            EngineError: it cannot be tried at all (node unknown, disk full). A program that is missing is no error
                here: it is an exit with reason `not_started`.
        """
        ...

    def warm(self, preload: tuple[str, ...]) -> None:
        """Launches with this `preload` may come soon: make ready for them, if that helps. A hint; returns at once."""
        ...

    def look(self, key: str) -> Sighting:
        """Say what is true now; never raise for an unknown key."""
        ...

    def keys(self) -> Iterable[str]:
        """Everything that is here, running or ended and not forgotten, so that what nobody wants is found."""
        ...

    def logs(self, key: str, *, offset: int = 0) -> Iterator[bytes]:
        """What it has written since byte `offset`, as far as written now; does not wait.

        If the part at `offset` was dropped (logs are bounded), yields from the oldest byte kept, after one marker line.
        """
        ...

    def log_size(self, key: str) -> int:
        """Bytes written by it so far, dropped ones included: the offset at which the next `logs` goes on."""
        ...

    def stop(self, key: str, *, grace_s: float) -> None:
        """Ask politely, then kill the whole process tree after `grace_s` seconds. Returns at once."""
        ...

    def forget(self, key: str) -> None:
        """Delete what is kept of an ended key (record, logs, folder); an unknown or running key: nothing."""
        ...

    def on_change(self, call: Callable[[str], None]) -> None:
        """Call `call(key)` soon after a key has ended, from any thread. A hint: it may be missed over a restart."""
        ...

    def close(self) -> None:
        """Let go of threads and files. What runs goes on running."""
        ...


def open_engine(name: str, **settings: Any) -> Engine:
    """Open the engine called `name`, one of `ENGINES`, or any `package.module:Class` that keeps the contract.

    Raises:
        ConfigError: nothing by that name can be imported, or it does not take these settings.
    """
    path = ENGINES.get(name, name)
    module, _, attribute = path.partition(":")
    try:
        opened = getattr(import_module(module), attribute)(**settings)
    except (ImportError, AttributeError, ValueError, TypeError) as fault:
        raise ConfigError(
            f"Engine {name!r} cannot be opened: {fault}", fix=f"Use one of {', '.join(ENGINES)}."
        ) from fault
    return cast(Engine, opened)
