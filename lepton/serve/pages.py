"""What a front answers from what it knows by itself."""

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from lepton.serve import answers
from lepton.serve.exchange import Exchange
from lepton.serve.metrics import render_metrics
from lepton.serve.routes import Page, Route

if TYPE_CHECKING:
    from lepton.serve.desk import Desk


def show(desk: "Desk", exchange: Exchange, route: Route) -> None:
    """Answer with a page."""
    if route.page == Page.METRICS:
        desk.meter.pages[200] += 1
        text = render_metrics(desk.meter, gauges(desk), desk.more_metrics())
        exchange.finish(200, text, answers.TEXT_TYPE)
    elif route.page == Page.OPTIONS:
        desk.answer(exchange, 200, b"{}", headers=b"allow: " + route.text + b"\r\n")
    elif route.page == Page.TEXT:
        desk.meter.pages[200] += 1
        exchange.finish(200, route.text, route.type)
    elif route.refusal is not None:
        desk.refuse(exchange, route.refusal)
    elif route.page == Page.MOVED:
        desk.answer(exchange, 307, b"{}", headers=b"location: %b%b\r\n" % (exchange.prefix, route.text))
    elif route.page == Page.QUEUE:
        desk.answer(exchange, 200, b"%d" % (desk.early + desk.queue.waiting + desk.queue.held))
    elif route.page == Page.READY and not desk.is_ready:
        desk.refuse(exchange, answers.NO_WORKER)
    elif route.page == Page.ABOUT:
        about = {"endpoint": desk.name, "ready": desk.is_ready, **desk.about}
        desk.answer(exchange, 200, json.dumps(about).encode())
    else:
        desk.answer(exchange, 200, b'{"status": "ok"}')


@cache
def token_page() -> bytes:
    """For people without a token: it asks for one, and shows the page that needs it."""
    return resources.files("lepton.serve").joinpath("token.html").read_bytes()


def gauges(desk: "Desk") -> dict[str, float]:
    """Name -> value now."""
    return {
        "queue_waiting": desk.early + desk.queue.waiting,
        "requests_held": desk.queue.held,
        "request_limit_seconds": desk.longest_s,
        "workers_ready": desk.queue.workers,
        "connections": len(desk.lobby.connections) if desk.lobby is not None else 0,
    }
