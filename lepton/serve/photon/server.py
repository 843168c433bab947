"""`Photon.launch`: serve one photon in the process that called it, with no front before it."""

import copy
import logging
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import FrameType
from typing import Any

import uvicorn
import uvicorn.config

from lepton.serve.photon import config
from lepton.serve.photon.app import finish
from lepton.serve.photon.meter import Meter

QUIET = ("/healthz ", "/metrics ")


def serve(photon: Any, host: str, port: int, log_level: str) -> None:
    """Get it ready and serve it until SIGTERM or Ctrl-C."""
    liveness = photon.health_check_liveness_tcp_port
    if liveness not in (None, port):
        answer_liveness(liveness)
    photon._call_init_once()
    app = finish(photon._create_app(load_mount=True), photon, Meter(), port=port)
    limit_s = photon.timeout_graceful_shutdown or config.DEFAULT_TIMEOUT_GRACEFUL_SHUTDOWN
    settings = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level=log_level,
        log_config=log_config(),
        timeout_graceful_shutdown=limit_s,
        timeout_keep_alive=config.DEFAULT_TIMEOUT_KEEP_ALIVE,
        proxy_headers=True,
        forwarded_allow_ips="*",
    )
    sys.stderr.write(f"photon: {photon._photon_name} answers at http://{host}:{port} - docs at /docs\n")
    Server(settings, photon).run()


class Server(uvicorn.Server):
    """Goes on listening for a while after SIGTERM, so that whoever sends it requests has time to learn of it."""

    def __init__(self, settings: uvicorn.Config, photon: Any) -> None:
        super().__init__(settings)
        self._photon = photon
        self._grace_s = photon.incoming_traffic_grace_period or config.DEFAULT_INCOMING_TRAFFIC_GRACE_PERIOD

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop now for Ctrl-C, at once the second time; for SIGTERM after the grace."""
        self._photon._handle_exit(self, sig, frame)
        if sig == signal.SIGINT or not self._grace_s:
            super().handle_exit(sig, frame)
        else:
            Thread(target=self._exit_later, daemon=True).start()

    def _exit_later(self) -> None:
        Event().wait(self._grace_s)
        self.should_exit = True


class Quiet(logging.Filter):
    """Leaves out of the access log what is asked all the time."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is shown."""
        return not any(path in record.getMessage() for path in QUIET)


def log_config() -> dict[str, Any]:
    """The usual one, with the time."""
    logging.getLogger("uvicorn.access").addFilter(Quiet())
    found: dict[str, Any] = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
    for each in found["formatters"].values():
        each["fmt"] = "%(asctime)s - " + each["fmt"]
    return found


class SharedServer(ThreadingHTTPServer):
    """One of several processes at a port; each takes some of the requests."""

    allow_reuse_port = True


def answer_liveness(port: int, *, is_shared: bool = False) -> None:
    """Answer /livez at a port of its own, from a thread; a port that is taken is told and left.

    Args:
        is_shared: other replicas answer there too, and those of other code before and after this.
    """
    try:
        server = (SharedServer if is_shared else ThreadingHTTPServer)(("0.0.0.0", port), Liveness)
    except OSError as fault:
        sys.stderr.write(f"photon: /livez cannot be answered at port {port}: {fault}\n")
        return
    Thread(target=server.serve_forever, name="lepton-livez", daemon=True).start()


class Liveness(BaseHTTPRequestHandler):
    """GET /livez."""

    def do_GET(self) -> None:
        """Answer."""
        is_known = self.path.partition("?")[0] == "/livez"
        body = b'{"status":"ok"}' if is_known else b'{"detail":"Not Found"}'
        self.send_response(200 if is_known else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""
