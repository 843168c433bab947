"""Which certificate a front shows, before and after its files have changed."""

import os
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lepton.core.errors import ConfigError
from lepton.serve.identity import LOOK_S, Identity


def write_pair(folder: Path, name: str, kind: str = "ec:prime256v1", *more: str, days: int = 2) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    cert, key = folder / "cert.pem", folder / "key.pem"
    algorithm, _, option = kind.partition(":")
    kinds = (
        ["-newkey", algorithm, "-pkeyopt", f"ec_paramgen_curve:{option}"] if algorithm == "ec" else ["-newkey", kind]
    )
    command = ["openssl", "req", "-x509", *kinds, *(more or ("-nodes",)), "-days", str(days), "-subj", f"/CN={name}"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


def shown(identity: Identity) -> bytes:
    """The certificate that a client gets, and the protocol it is offered."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.set_alpn_protocols(["h2"])
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(ours, theirs)
    answering = identity.context.wrap_bio(theirs, ours, server_side=True)
    for side in (asking, answering, asking, answering):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert asking.selected_alpn_protocol() == "h2"
    return asking.getpeercert(binary_form=True) or b""


def der(cert: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(cert.read_text())


def test_a_renewed_pair_is_shown_without_a_restart_and_a_bad_one_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cert, key = write_pair(tmp_path / "now", "first")
    identity = Identity(str(cert), str(key))
    first = der(cert)
    assert shown(identity) == first
    new_cert, new_key = write_pair(tmp_path / "new", "second", "rsa:2048")
    second = der(new_cert)
    os.replace(new_cert, cert)
    identity.look(100.0)
    assert shown(identity) == first, "its key has not come yet"
    assert "is kept" in capsys.readouterr().err
    os.replace(new_key, key)
    identity.look(100.0 + LOOK_S / 2)
    assert shown(identity) == first, "it does not look all the time"
    identity.look(100.0 + LOOK_S)
    assert shown(identity) == second
    cert.unlink()
    identity.look(100.0 + 2 * LOOK_S)
    assert shown(identity) == second


def test_a_key_with_a_password_is_told_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    cert, key = write_pair(tmp_path, "locked", "ec:prime256v1", "-passout", "pass:secret")
    with pytest.raises(ConfigError, match="the key has a password"):
        Identity(str(cert), str(key))


def test_a_certificate_that_has_ended_takes_no_valid_ones_place_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC)
    cert, key = write_pair(tmp_path / "now", "first", days=9)
    identity = Identity(str(cert), str(key), lambda: now)
    first = der(cert)
    assert not capsys.readouterr().err
    new_cert, new_key = write_pair(tmp_path / "new", "second", days=2)
    os.replace(new_key, key)
    os.replace(new_cert, cert)
    second = der(cert)
    now += timedelta(days=3)
    identity.look(100.0)
    assert shown(identity) == first
    assert "which is not now" in capsys.readouterr().err
    now += timedelta(days=7)
    os.utime(key)
    identity.look(200.0)
    assert shown(identity) == second, "the first is no better by now, and somebody wants this one"


@pytest.mark.parametrize("kind", ["ec:prime256v1", "rsa:2048"])
def test_a_key_of_another_certificate_is_called_that(tmp_path: Path, kind: str) -> None:
    cert, _ = write_pair(tmp_path / "one", "one")
    _, key = write_pair(tmp_path / "two", "two", kind)
    with pytest.raises(ConfigError, match="the key is another certificate's"):
        Identity(str(cert), str(key))
