"""What a photon mounts: FastAPI, another photon, static files, Gradio, and any ASGI or WSGI application."""

import inspect
import sys
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from starlette.routing import Mount

from lepton.serve.asgi import is_asgi, wsgi
from lepton.serve.photon.marks import Mark


def mount(app: FastAPI, photon: Any, mark: Mark) -> Iterator[Mount]:
    """Add what a marked method gives; what has to come after all other routes is yielded.

    Raises:
        ValueError: it is nothing that can be mounted.
    """
    try:
        part = _part(app, photon, mark)
    except ImportError as fault:
        if not any(name in str(fault) for name in ("gradio", "flask")):
            raise
        sys.stderr.write(f"photon: /{mark.path} is not mounted: {fault}\n")
        return
    as_router = mark.options.get("use_router_if_possible", True)
    place = f"/{mark.path}" if mark.path else ""
    if hasattr(part, "_call_init_once"):
        part._call_init_once()
        part = part._create_app(load_mount=True)
    if isinstance(part, FastAPI) and as_router:
        app.include_router(part.router, prefix=place)
    elif type(part).__module__.partition(".")[0] == "gradio":
        import gradio  # noqa: PLC0415  the program has imported it

        gradio.mount_gradio_app(app, part, place or "/")
    elif callable(part):
        yield Mount(place, part if is_asgi(part) else wsgi(part))
    else:
        raise ValueError(f"A {type(part).__name__} cannot be mounted at /{mark.path}")


def _part(app: FastAPI, photon: Any, mark: Mark) -> Any:
    method = mark.function.__get__(photon, type(photon))
    wanted = len(inspect.signature(method).parameters)
    if wanted > 1:
        raise ValueError(f"What mounts /{mark.path} takes the application, or nothing")
    return method(app) if wanted else method()
