"""`Photon`, the class that programs subclass: what it declares, how it gets ready, how it is stored and served."""

import sys
from importlib import import_module
from pathlib import Path
from threading import RLock
from typing import Any

import cloudpickle
import pydantic
from fastapi import FastAPI

from lepton.serve.photon import archive, config, marks, template
from lepton.serve.photon.app import make_app
from lepton.serve.photon.database import add_photon

INIT = RLock()
"""One photon of a process gets ready at a time; one whose `init` calls its own handlers does not wait for itself."""
MOST_VERSIONS = 1000


class BasePhoton:
    """Something with a name that can be stored as a `.photon` file."""

    photon_type: str = "base"
    extra_files: Any = {}  # noqa: RUF012  an interface
    """Files that go along: paths, or a dict of path at run time -> path here."""

    def __init__(self, name: str, model: str) -> None:
        self._photon_name = name
        self._photon_model = model

    def __str__(self) -> str:
        return f"Photon(name={self._photon_name}, model={self._photon_model})"

    @property
    def metadata(self) -> dict[str, Any]:
        """What its file says of it."""
        return {"name": self._photon_name, "model": self._photon_model, "type": self.photon_type}

    @property
    def _extra_files(self) -> dict[str, str | bytes]:
        return archive.extra_files_of(self.extra_files)

    def save(self, path: str | None = None) -> str:
        """Write the file, by default a new one in the cache folder, and tell the list of local photons.

        Returns:
            Its path.
        """
        place = path or str(_free_path(self._photon_name))
        archive.write(place, self.metadata, self._extra_files)
        add_photon(place, self._photon_name, self._photon_model, place)
        return place

    @staticmethod
    def load(path: str) -> Any:
        """The photon of a file; its extra files are laid into the present folder.

        Runs code of whoever made the file: only in a process that may.
        """
        metadata = archive.read_metadata(path)
        archive.unpack(path, Path.cwd())
        stored = metadata.get("py_obj")
        if stored:
            _compare_versions(metadata)
            return cloudpickle.loads(archive.read_member(path, stored["obj_pkl_file"]))
        maker = archive.type_str_registry.get(metadata["type"])
        if maker is None:
            raise ValueError(f"{path} is of the type {metadata['type']!r}, which nothing here can load")
        return maker(metadata["name"], metadata["model"])

    @staticmethod
    def load_metadata(path: str, unpack_extra_files: bool = False) -> dict[str, Any]:
        """What a file says of its photon; runs nothing of it."""
        if unpack_extra_files:
            archive.unpack(path, Path.cwd())
        return archive.read_metadata(path)


def _free_path(name: str) -> Path:
    config.CACHE_DIR.mkdir(parents=True, exist_ok=True)
    for version in range(MOST_VERSIONS):
        path = config.CACHE_DIR / (f"{name}.{version}.photon" if version else f"{name}.photon")
        if not path.exists():
            return path
    raise ValueError(f"There are {MOST_VERSIONS} photons {name} in {config.CACHE_DIR}")


def _compare_versions(metadata: dict[str, Any]) -> None:
    here = {"cloudpickle": cloudpickle.__version__, "pydantic": pydantic.__version__, "python": _python()}
    made = {name: metadata.get(f"{name}_version") for name in ("cloudpickle", "pydantic")}
    made["python"] = metadata["py_obj"].get("py_version")
    for name, version in made.items():
        if version and version != here[name]:
            sys.stderr.write(f"photon: made with {name} {version}, loaded with {here[name]}\n")


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


class Photon(BasePhoton):
    """Subclass it, write `init`, and decorate methods with `@Photon.handler`."""

    photon_type: str = "photon"
    obj_pkl_filename: str = "obj.pkl"
    py_src_filename: str = "py.py"

    requirement_dependency: Any = None
    """As pip's requirements; those of the bases come first."""
    system_dependency: Any = None
    """Debian packages; likewise."""
    deployment_template: Any = {"resource_shape": None, "env": {}, "secret": []}  # noqa: RUF012  an interface
    handler_max_concurrency: int = 1
    """Plain handlers at a time; coroutine functions are not bounded."""
    handler_timeout: int = 600
    """Seconds; a caller who has waited for so long gets a 504."""
    image: str = config.BASE_IMAGE
    args: Any = config.BASE_IMAGE_ARGS
    cmd: Any = config.BASE_IMAGE_CMD
    exposed_port: int = config.DEFAULT_PORT
    health_check_liveness_tcp_port: int | None = None
    """/livez answers there instead."""
    timeout_graceful_shutdown: int | None = None
    """Seconds that requests have to end in once `launch` has stopped listening."""
    incoming_traffic_grace_period: int | None = None
    """Seconds that `launch` goes on listening after SIGTERM."""
    vcs_url: str | None = None
    """Repository in which it runs."""

    handler: Any = staticmethod(marks.handler)

    def __init__(self, name: str | None = None, model: str | None = None) -> None:
        kind = type(self).__qualname__
        super().__init__(name=kind if name is None else name, model=kind if model is None else model)
        self._init_called = False
        self._init_res: Any = None
        self.__photon_class_constructor_called = True

    def init(self) -> Any:
        """Get ready: load the model. Once, before the first request."""

    def _call_init_once(self) -> Any:
        if "_Photon__photon_class_constructor_called" not in self.__dict__:
            raise RuntimeError(
                f"{type(self).__name__} has an __init__ that does not call super().__init__;"
                " write `def init(self)`, without underscores, to get a photon ready"
            )
        with INIT:
            if not self._init_called:
                self._init_called = True
                try:
                    template.apply(self._deployment_template)
                    self._init_res = self.init()
                except BaseException:
                    self._init_called = False
                    raise
        return self._init_res

    def _gathered(self, name: str) -> list[str]:
        """What the class and its bases declare, the bases' first."""
        kinds = [kind for kind in reversed(type(self).__mro__) if vars(kind).get(name)]
        return [each for kind in kinds for each in vars(kind)[name]]

    @property
    def _requirement_dependency(self) -> list[str]:
        own = self.__dict__.get("requirement_dependency")
        return self._gathered("requirement_dependency") + [each for each in own or ()]

    @property
    def _system_dependency(self) -> list[str]:
        return list(dict.fromkeys(self._gathered("system_dependency")))

    @property
    def _deployment_template(self) -> dict[str, Any]:
        return template.checked(self.deployment_template)

    @property
    def metadata(self) -> dict[str, Any]:
        """What its file says of it."""
        found = {
            **super().metadata,
            "cloudpickle_version": cloudpickle.__version__,
            "pydantic_version": pydantic.__version__,
            "openapi_schema": self._create_app(load_mount=False).openapi(),
            "py_obj": {"name": type(self).__qualname__, "obj_pkl_file": self.obj_pkl_filename, "py_version": _python()},
            "requirement_dependency": self._requirement_dependency,
            "system_dependency": self._system_dependency,
            config.METADATA_VCS_URL_KEY: self.vcs_url,
            "deployment_template": self._deployment_template,
            "image": self.image,
            "args": self.args,
            "exposed_port": self.exposed_port,
        }
        found["py_obj"]["src_file"] = import_module("lepton.serve.photon.pickling").source_of(type(self))
        for name in ("cmd", "health_check_liveness_tcp_port"):
            if getattr(self, name) is not None:
                found[name] = getattr(self, name)
        return found

    def save(self, path: str | None = None) -> str:
        """As `BasePhoton.save`; the object goes along as a pickle."""
        place = super().save(path)
        pickling = import_module("lepton.serve.photon.pickling")
        archive.add_member(place, self.obj_pkl_filename, pickling.dump(self))
        source = pickling.source_of(type(self))
        if source is not None and Path(source).is_file():
            archive.add_member(place, self.py_src_filename, Path(source).read_bytes())
        return place

    def _create_app(self, load_mount: bool) -> FastAPI:
        return make_app(self, load_mount=load_mount)

    def _handle_exit(self, *args: Any, **kwargs: Any) -> None:
        """Called when it is asked to end."""

    def launch(self, host: str = "0.0.0.0", port: int = config.DEFAULT_PORT, log_level: str = "info") -> None:
        """Serve in this process until SIGTERM or Ctrl-C."""
        import_module("lepton.serve.photon.server").serve(self, host, port, log_level)


BasePhoton.__module__ = "leptonai.photon.base"
Photon.__module__ = "leptonai.photon.photon"
