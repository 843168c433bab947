"""`lepton vault door`: our own receiving door, on a machine that has a disk and nothing else of Lepton."""

import json
import logging
import signal
import ssl
from pathlib import Path
from typing import Any

import click
import uvicorn

from lepton.api.receiving import make_receiving_app
from lepton.cli.kinds import PORT, Name, Size
from lepton.cli.listening import address, listen_at, settings_of
from lepton.cli.output import with_json
from lepton.cli.spans import Rhythm
from lepton.core.clock import SystemClock
from lepton.core.errors import ConfigError
from lepton.server.receiving import DAY_S, Receiver, Rules
from lepton.vault.drivers.door import DOOR_PORT

LOOPBACK = ("127.0.0.1", "::1", "localhost")
PEM = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), required=True, help="Where it keeps things."
)
@click.option("--port", type=PORT, default=DOOR_PORT, show_default=True, help="Port; 0 picks a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: all of them.")
@click.option("--tls-cert", type=PEM, default=None, help="Certificate chain in PEM; with --tls-key it speaks TLS only.")
@click.option("--tls-key", type=PEM, default=None, help="The certificate's key.")
@click.option(
    "--keep",
    "keep_s",
    type=Rhythm(least="1d"),
    default="30d",
    show_default=True,
    help="How long what was hidden is kept.",
)
@click.option("--writer", "writers", type=Name(), multiple=True, help="Who may write, in a folder apart; repeatable.")
@click.option(
    "--free", "free_bytes", type=Size(), default="1G", show_default=True, help="So much of the disk stays free."
)
@with_json
def door(folder: Path, port: int, host: str, writers: tuple[str, ...], is_json: bool, **options: Any) -> None:
    """Receive backups on this machine, so that nobody who has the platform can change or empty them.

    It needs no platform here. The first start makes a token for each writer (one, called platform, where none is
    named): its file is printed. Copy the token to where backups are made, as LEPTON_STORAGE_TOKEN, and back up with
    --to door://HOST:PORT/PREFIX (doors:// over TLS) --append-only.
    """
    cert, key = options["tls_cert"], options["tls_key"]
    _check_pair(cert, key)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    rules = Rules(keep_s=options["keep_s"], free_bytes=options["free_bytes"])
    receiver = Receiver(folder.absolute(), writers, rules, SystemClock())
    try:
        listening = listen_at(host, port)
        with listening:
            url = address(host, listening.getsockname()[1], "doors" if cert else "door")
            _greet(receiver, url, is_json=is_json, is_open=not cert and host not in LOOPBACK)
            settings = settings_of(make_receiving_app(receiver), ssl_certfile=cert, ssl_keyfile=key)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: None)  # uvicorn raises what it caught once more when it is done
            uvicorn.Server(settings).run(sockets=[listening])
    finally:
        receiver.close()


def _check_pair(cert: Path | None, key: Path | None) -> None:
    if bool(cert) != bool(key):
        raise ConfigError("TLS needs a certificate and its key", fix="Give both --tls-cert and --tls-key.")
    if cert is not None and key is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
        except (OSError, ssl.SSLError) as fault:
            raise ConfigError(f"{cert} and {key} cannot be used: {fault}", fix="Give a pair in PEM.") from fault


def _greet(receiver: Receiver, url: str, *, is_json: bool, is_open: bool) -> None:
    made = [str(path) for path in receiver.made]
    if is_json:
        writers = [writer.name for writer in receiver.writers]
        said = json.dumps({"url": url, "dir": str(receiver.folder), "writers": writers, "new_tokens": made})
    else:
        new = [f"New token, in {path}: copy it to where backups are made, then remove the file." for path in made]
        days = receiver.rules.keep_s // DAY_S
        said = "\n".join([f"The door answers at {url}; what is hidden is kept for {days} days.", *new])
        if is_open:
            said += "\nIt speaks no TLS: tokens and names can be read on the way. Give --tls-cert and --tls-key."
    print(said, flush=True)  # noqa: T201  the terminal is where this belongs
