"""What code sees of its callers: who they are, never the token that proved it to the front."""

import json
import socket
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from websockets.sync.client import connect

from lepton.serve import callers
from tests.ports import free_port
from tests.server.serving.granting import open_platform
from tests.server.serving.house import House, Wire, open_service, wait_until

FORGED = {"X-Lepton-User": "root", "x_lepton_user": "root", "X-LEPTON-Subject": "root", "x-other": "kept"}
FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b--\r\n'
PHOTON = """
from fastapi import FastAPI, Request
from leptonai.photon import Photon

class Sees(Photon):
    @Photon.handler(mount=True)
    def sub(self) -> FastAPI:
        app = FastAPI()

        @app.post("/mine")
        def mine(request: Request) -> dict:
            return dict(request.headers)

        return app
"""


def is_open(port: int) -> bool:
    """Whether somebody listens there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def seen(house: House, token: str) -> dict[str, Mapping[str, Any]]:
    """What a caller with a token, who claims to be root, is seen as by all that is behind the front."""
    host, port = house.address
    headers = {"authorization": f"Bearer {token}", **FORGED}

    def ask(method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        line = {name.replace("-", "_"): value for name, value in headers.items() if name != "x_lepton_user"}
        status, found, _ = house.ask(method, path, body, content_type=kind, **line)
        assert status == 200, found
        return found

    found = {
        "handler": ask("POST", "/mine", b"{}"),
        "path": ask("GET", "/items/1"),
        "form": ask("POST", "/form", FORM, "multipart/form-data; boundary=b"),
        "app": ask("GET", "/app/mine"),
        "old": ask("GET", "/old/"),
    }
    for name, path in (("socket", "/talk"), ("app socket", "/app/talk")):
        with connect(f"ws://{host}:{port}{path}", additional_headers=headers, proxy=None) as line:
            found[name] = json.loads(line.recv(30))
    return found


def test_code_sees_who_asks_and_never_the_token_nor_who_he_says_he_is() -> None:
    with open_platform() as platform, open_service("nosy.py", env=platform.env) as house:
        for token in ("good", platform.sign("ann")):
            for way, headers in seen(house, token).items():
                assert token not in str(headers) and "root" not in str(headers), way
                names = [name.lower().replace("_", "-").removeprefix("http-") for name in headers]
                assert names.count("x-lepton-user") == 1 and "kept" in headers.values(), way
                assert "ann" in headers.values(), way
            wire = f"POST /mine HTTP/1.1\r\nHost: a\r\nAuthorization: bearer {token}\r\nX_Lepton_User: root\r\n"
            with house.wire() as line:
                status, body, _ = line.ask(
                    f"{wire}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}".encode()
                )
            told = json.loads(body)
            assert (status, told["user"], "root" in str(told), token in str(told)) == (200, "ann", False, False)


def test_an_open_handler_sees_tokens_of_others_but_none_of_the_platforms() -> None:
    def shown(house: House, authorization: str) -> Any:
        status, told, _ = house.ask(
            "POST", "/open", b"{}", content_type="application/json", authorization=authorization
        )
        assert status == 200 and "x-lepton-user" not in told
        return told.get("authorization")

    with open_platform() as platform, open_service("nosy.py", env=platform.env) as house:
        assert shown(house, "Bearer of-my-own") == "Bearer of-my-own"
        assert shown(house, "Basic YTpi") == "Basic YTpi"
        assert shown(house, "Bearer lpt_secret") is None
        assert shown(house, "lpt_secret") is None
        assert shown(house, "Bearer lpw_job.1.proof") is None
        assert shown(house, f"Bearer {platform.sign()}") is None
        assert shown(house, "Token token=lpt_secret") is None
    with open_service("nosy.py") as house:  # off the platform the front asks nobody, so all is the code's own
        status, told, _ = house.ask("POST", "/mine", b"{}", content_type="application/json", authorization="Bearer x")
        assert (status, told["authorization"], told["user"]) == (200, "Bearer x", "")


def test_what_waited_for_the_first_replica_shows_no_token_either() -> None:
    port = free_port()
    wish: dict[str, Any] = {"workers": 0, "is_waiting": False, "port": port}
    with open_platform() as platform, open_service("nosy.py", env=platform.env, **wish) as house:
        wait_until(lambda: is_open(port), "the front listens", 60)
        with Wire(("127.0.0.1", port)) as line:
            head = "POST /mine HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nContent-Type: application/json\r\n"
            line.send(f"{head}X-Lepton-User: root\r\nContent-Length: 2\r\n\r\n{{}}".encode())
            wait_until(lambda: platform.asked, "it waits at the front", 30)
            house.start("1")
            told = json.loads(line.read()[1])
        assert told["user"] == told["x-lepton-user"] == "ann" and "good" not in str(told)


def test_of_another_issuers_token_code_sees_what_it_says_and_not_the_token(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    file = tmp_path / "jwks.json"
    plain = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    file.write_text(json.dumps({"keys": [{**plain, "kid": "k1", "alg": "RS256"}]}))
    claims = {"iss": "https://id", "aud": "shop", "sub": "ann @ 10%", "exp": time() + 600, "email": "a@b.example"}
    token = jwt.encode(claims, key, algorithm="RS256", headers={"kid": "k1"})
    wish = {"jwt_issuer": "https://id", "jwt_audience": "shop", "jwt_keys": str(file)}
    with open_platform() as platform, open_service("nosy.py", env=platform.env, **wish) as house:
        line = {"content_type": "application/json", "authorization": f"Bearer {token}", "x_lepton_claims": "e30"}
        status, told, _ = house.ask("POST", "/mine", b"{}", **line)
        assert (status, told["user"], "authorization" in told) == (200, "", False)
        assert (told["x-lepton-issuer"], told["x-lepton-subject"]) == ("https://id", "ann%20@%2010%25")
        part = told["x-lepton-claims"]
        assert json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4))) == claims
        assert token.rpartition(".")[2] not in str(told)


def test_a_photon_sees_no_token_either(tmp_path: Path) -> None:
    (tmp_path / "sees.py").write_text(PHOTON)
    with open_platform() as platform, open_service("photon:sees.py", code=tmp_path, env=platform.env) as house:
        line = {"content_type": "application/json", "authorization": "Bearer good", "x_lepton_user": "root"}
        status, told, _ = house.ask("POST", "/sub/mine", b"{}", **line)
        assert (status, told.get("x-lepton-user"), "authorization" in told) == (200, "ann", False), told


@pytest.mark.parametrize("name", ["ann", "job:job_1", "a\r\nx: y", "ä"])
def test_no_name_of_a_caller_makes_a_second_header(name: str) -> None:
    line = callers.of_user(name)
    assert line.count(b"\r\n") == 1 and line.isascii()


def test_a_token_of_the_platform_is_found_wherever_it_stands() -> None:
    with open_platform() as platform:
        for token in ("lpt_secret", "lpw_job.1.proof", platform.sign()):
            for text in (token, f"u:{token}", f"{token}:", f"ab:{token}"):
                for code in (b64encode, urlsafe_b64encode):
                    packed = code(text.encode()).decode()
                    for shown in (
                        f"Basic {packed}",
                        f"basic {packed.rstrip('=')}",
                        f'Digest a="b", response="{packed}"',
                    ):
                        assert callers.is_platforms(shown.encode()), shown
            for shown in (token, f"Token token={token}", f'Token token="{token}"', f"x,{token};y", f"Bearer  {token}"):
                assert callers.is_platforms(shown.encode()), shown
    foreign = jwt.encode({"iss": "https://id"}, "k" * 32, algorithm="HS256")
    for text in ("", "Bearer of-my-own", "Basic YTpi", "Digest a=b", f"Bearer {foreign}", "Bearer " + "a" * 9001):
        assert not callers.is_platforms(text.encode()), text
