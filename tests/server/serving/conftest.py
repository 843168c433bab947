"""Endpoints and files that several tests of serving ask."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.serving.house import House, open_house, open_service, write_sums


@pytest.fixture(scope="module")
def version() -> Iterator[House]:
    with open_house() as house:
        assert house.address
        yield house


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("sums")
    write_sums(folder / "sums.onnx")
    with open_service("onnx:sums.onnx", code=folder) as house:
        yield house


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for this machine, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key
