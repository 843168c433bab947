"""Signed tokens through a real platform: made by a command, checked by fronts alone, and taken back within seconds."""

import json
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, time
from typing import Any

import jwt
import pytest

from lepton.core.errors import ForbiddenError, InvalidError, NotFoundError, UnauthenticatedError
from lepton.sdk.client import Client, connect
from lepton.sdk.endpoints import Endpoint
from tests.walk.house import House, wait_until
from tests.walk.test_fronts import ask

SERVICE = """
from lepton.serve import Service, handler

class Count(Service):
    cpus = 0.05

    def init(self):
        self.asked = 0

    @handler
    def count(self, by: int) -> int:
        self.asked += by
        return self.asked
"""
SOON_S = 10.0
"""Within which a front has heard of a revocation; it takes some milliseconds."""
Pair = tuple[Endpoint, Endpoint]


@pytest.fixture(scope="module")
def pair(up: House, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """An endpoint with a front of its own, and one that shares a front."""
    file = tmp_path_factory.mktemp("count") / "count.py"
    file.write_text(SERVICE)
    up.client.serve.front("edge").wait()
    alone, shared = (
        up.client.serve.deploy(str(file), name="alone"),
        up.client.serve.deploy(str(file), name="shared", front="edge"),
    )
    return alone.wait(), shared.wait()


def count(endpoint: Endpoint, token: str) -> tuple[int, Any]:
    path = "/shared/count" if endpoint.name == "shared" else "/count"
    return ask(endpoint, path, token=token, by=1)


def sign_in(up: House, token: str) -> Client:
    """A client with a token of its own, closed with the house."""
    assert up.client
    up.clients.append(connect((up.data / "url").read_text().strip(), token=token))
    return up.clients[-1]


def add_user(up: House, name: str, role: str = "viewer") -> Client:
    up.client.security.create_user(name)
    up.client.security.set_role(name, role)
    return sign_in(up, up.client.security.create_token(name)["token"])


def make(client: Client, endpoint: str = "", **wishes: Any) -> str:
    return str(client.security.create_jwt(endpoint, **wishes)["token"])


def forged(token: str, **claims: Any) -> str:
    """The token with other claims, under a signature that is not theirs."""
    head, body, signature = token.split(".")
    told = {**jwt.decode(token, options={"verify_signature": False}), **claims}
    body = urlsafe_b64encode(json.dumps(told).encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{signature}"


def test_a_token_made_by_a_command_opens_what_it_is_for_and_nothing_else(up: House, pair: Pair) -> None:
    alone, shared = pair
    said = up.lepton("tokens", "jwt", "--endpoint", "alone", "--lifetime", "60", "--json")
    assert said.returncode == 0, said.stderr
    made = json.loads(said.stdout)
    assert made["audience"] == alone.id
    assert time() < made["expires_at"] / 1_000_000 <= time() + 60
    assert count(alone, made["token"])[0] == 200
    status, told = count(shared, made["token"])
    assert (status, told["code"]) == (401, "unauthenticated")
    assert alone.id in told["message"] and shared.id in told["fix"]
    for endpoint in pair:
        assert count(endpoint, up.lepton("tokens", "jwt").stdout.strip())[0] == 200
        assert count(endpoint, make(up.client, endpoint.name))[0] == 200
    with pytest.raises(UnauthenticatedError):
        sign_in(up, made["token"]).security.whoami()
    (key,) = json.loads(up.lepton("tokens", "keys").stdout)["keys"]
    assert jwt.decode(made["token"], jwt.PyJWK(key), algorithms=["EdDSA"], audience=alone.id)["sub"] == "admin"


def test_who_may_not_use_an_endpoint_gets_no_token_for_it(up: House, pair: Pair) -> None:
    val = add_user(up, "val")
    assert count(pair[0], make(val, "alone"))[0] == 200
    up.client.security.create_user("stranger")
    stranger = sign_in(up, up.client.security.create_token("stranger")["token"])
    for place in ("alone", pair[0].id, ""):
        with pytest.raises(NotFoundError):
            make(stranger, place)
    with pytest.raises(NotFoundError):
        make(val, "nowhere")
    for lifetime_s in (0, -1, 86_401):
        with pytest.raises(InvalidError):
            make(val, "alone", lifetime_s=lifetime_s)
    brief = sign_in(up, up.client.security.create_token("val", lifetime_s=60)["token"])
    assert brief.security.create_jwt("alone", lifetime_s=3600)["expires_at"] / 1_000_000 <= time() + 60
    with pytest.raises(ForbiddenError):
        val.security.revoke_jwt("admin", "jwt_" + "0" * 26)


def test_no_bad_token_reaches_a_replica(up: House, pair: Pair) -> None:
    good = make(up.client)
    head, body, signature = good.split(".")
    plain = urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    bad = [
        f"{plain}.{body}.",
        f"{plain}.{body}.{signature}",
        jwt.encode({"iss": "x", "exp": 9e9}, "k" * 32, algorithm="HS256"),
        forged(good, sub="root"),
        forged(good, exp=time() - 3600),
        forged(good, nbf=time() + 3600),
        forged(good, aud="ep_1"),
        forged(good, iss="https://elsewhere.example"),
        f"{head}.{body}.{signature[:-2]}",
        f"{head}.{body}",
        "ey." + "A" * 9000 + ".AA",
        "eyJ\xff.\xfe.x",
    ]
    for endpoint in pair:
        before = count(endpoint, good)[1]
        for token in bad:
            status, told = count(endpoint, token)
            assert (status, told["code"]) == (401, "unauthenticated"), token[:200]
            assert "JWT" in told["message"] and told["fix"]
        assert count(endpoint, "ey." + "A" * 100_000 + ".AA")[0] == 431
        assert count(endpoint, good) == (200, before + 1)


@pytest.mark.parametrize("how", ["id", "token", "member", "user"])
def test_what_is_taken_back_is_refused_at_every_front_soon(up: House, pair: Pair, how: str) -> None:
    name = f"by-{how}"
    security = up.client.security
    client, other = add_user(up, name), add_user(up, f"{name}-not")
    made = client.security.create_jwt()
    kept = make(other)
    for endpoint in pair:
        assert count(endpoint, made["token"])[0] == count(endpoint, kept)[0] == 200
    token = security.tokens(name)[0]["id"]
    revoke: dict[str, Callable[[], Any]] = {
        "id": lambda: up.lepton("tokens", "revoke", made["id"], "--user", name).check_returncode(),
        "token": lambda: security.revoke_token(name, token),
        "member": lambda: security.set_role(name, ""),
        "user": lambda: security.delete_user(name),
    }
    revoke[how]()
    begun = monotonic()
    for endpoint in pair:
        wait_until(lambda endpoint=endpoint: count(endpoint, made["token"])[0] == 401, "it is refused")
    assert monotonic() - begun < SOON_S
    for endpoint in pair:
        assert count(endpoint, made["token"])[1]["message"] == "The JWT was revoked"
        assert count(endpoint, kept)[0] == 200


def test_a_flood_of_wrong_tokens_lets_good_ones_through(up: House, pair: Pair) -> None:
    alone, _ = pair
    known, fresh = make(up.client), [make(up.client) for _ in range(20)]
    assert count(alone, known)[0] == 200
    with ThreadPoolExecutor(8) as pool:
        flood = [pool.submit(count, alone, forged(known, jti=f"jwt_{number}")) for number in range(800)]
        found = [count(alone, known)[0] for _ in range(50)] + [count(alone, token)[0] for token in fresh]
        assert found == [200] * len(found)
        answers = Counter(one.result()[0] for one in flood)
    assert set(answers) <= {401, 503}
    assert answers[401]


def test_fronts_need_no_server_for_what_they_know(up: House, pair: Pair) -> None:
    tokens = [make(up.client) for _ in range(3)]
    gone = up.client.security.create_jwt()
    up.client.security.revoke_jwt("admin", gone["id"])
    for endpoint in pair:
        wait_until(lambda endpoint=endpoint: count(endpoint, gone["token"])[0] == 401, "it is refused")
    up.kill()
    for endpoint in pair:
        assert count(endpoint, tokens[0])[0] == 200, "a token that this front has never seen"
        assert count(endpoint, gone["token"])[0] == 401
    up.up()
    client = sign_in(up, (up.data / "token").read_text().strip())
    later = client.security.create_jwt()
    assert [count(endpoint, later["token"])[0] for endpoint in pair] == [200, 200]
    client.security.revoke_jwt("admin", later["id"])
    for endpoint in pair:
        wait_until(
            lambda endpoint=endpoint: count(endpoint, later["token"])[0] == 401, "a server that is back is heard"
        )
        assert count(endpoint, gone["token"])[0] == 401
        assert count(endpoint, tokens[1])[0] == 200
