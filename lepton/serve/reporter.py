"""What a front tells the platform, as reports of the job whose process passes it on."""

from collections.abc import Callable, Mapping
from typing import Any

from lepton.core.context import Context
from lepton.core.resource import Json

Tell = Callable[[Mapping[str, Json]], None]
"""Takes one item of docs/wire.md."""


class Reporter:
    """Passes what a front tells on to the platform, if there is one: as reports of this job."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._steps = 0

    def tell(self, item: Mapping[str, Json]) -> None:
        """One item; the numbers of `served` become metrics of the job too."""
        report: Callable[[Mapping[str, Any]], None] | None = getattr(self._ctx, "report", None)
        if report is not None:
            report(item)
        if item["type"] == "served":
            self._steps += 1
            numbers = {name: value for name, value in item.items() if name not in ("type", "at")}
            self._ctx.metrics(self._steps, **numbers)
