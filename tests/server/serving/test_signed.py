"""Signed tokens at a front: checked once, without the server; what is known outlives both; each refusal says why."""

import json
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.server.serving.granting import ENDPOINT, Platform, open_platform
from tests.server.serving.house import House, open_service, wait_until

BODY = b'{"name": "Ada"}'


def greet(house: House, token: str) -> tuple[int, object]:
    status, answer, _ = house.ask(
        "POST", "/greet", BODY, content_type="application/json", authorization=f"Bearer {token}"
    )
    return status, answer


@pytest.fixture
def platform() -> Iterator[Platform]:
    with open_platform() as platform:
        yield platform


def test_a_token_is_checked_without_asking_anybody_and_counted_by_whose_it_is(platform: Platform) -> None:
    with open_service("shop.py:Plain", env=platform.env, rate_per_s=1, burst=3) as house:
        tokens = [platform.sign(age_s=age_s) for age_s in range(5)]
        assert [greet(house, token)[0] for token in tokens] == [200, 200, 200, 429, 429]
        assert greet(house, platform.sign("bob", audience="workspace:default"))[0] == 200
        assert greet(house, platform.sign(audience="workspace:other"))[0] == 401
        assert platform.asked == []


def test_all_tokens_of_a_user_count_together(platform: Platform) -> None:
    with open_service("shop.py:Plain", env=platform.env, rate_per_s=1, burst=4) as house:
        mine = ["good", "good-2", "good-4", platform.sign("ann"), "good-3", platform.sign("ann", age_s=1)]
        assert [greet(house, token)[0] for token in mine] == [200] * 4 + [429] * 2
        assert greet(house, platform.sign("bob"))[0] == 200


def test_a_token_ends_by_itself_also_one_that_was_let_in(platform: Platform) -> None:
    with open_service("shop.py:Plain", env=platform.env) as house:
        token = platform.sign(lifetime_s=600, age_s=600 + 10 - 3)  # with the leeway it has 3 s to live
        assert greet(house, token)[0] == 200
        wait_until(lambda: greet(house, token)[0] == 401, "it has ended", 30)
        wait_until(lambda: "has expired" in str(greet(house, token)[1]), "it is told why", 30)


def test_a_front_hears_at_once_what_is_revoked_and_goes_on_when_the_server_is_back(platform: Platform) -> None:
    with open_service("shop.py:Plain", env=platform.env) as house:
        ann, bob = platform.sign("ann"), platform.sign("bob")
        assert greet(house, ann)[0] == greet(house, bob)[0] == 200
        platform.wait_for_polls(2)
        platform.revoke("ann")
        wait_until(lambda: greet(house, ann)[0] == 401, "it is heard", 30)
        assert greet(house, bob)[0] == 200
        port = platform.server_address[1]
        platform.close()
        assert greet(house, ann)[0] == 401
        assert greet(house, platform.sign("cid"))[0] == 200, "never seen before, and the server is away"
        with open_platform(port) as again:
            again.wait_for_polls(1)
            again.revoke("bob")
            wait_until(lambda: greet(house, bob)[0] == 401, "it is heard again", 30)
            assert greet(house, ann)[0] == 401, "what was heard before still counts"


def test_a_front_that_starts_while_the_server_is_away_knows_what_the_last_one_knew(platform: Platform) -> None:
    with open_service("shop.py:Plain", env=platform.env) as house:
        ann, bob = platform.sign("ann"), platform.sign("bob")
        assert greet(house, bob)[0] == 200
        platform.revoke("ann")
        wait_until(lambda: greet(house, ann)[0] == 401, "it is heard", 30)
        file = house.folder / "front.jwts.json"
        assert file.stat().st_mode & 0o777 == 0o600
        assert "ann" not in file.read_text()
        platform.close()
        house.processes["front"].kill()
        house.processes["front"].wait(10)
        (house.folder / "said.jsonl").unlink()
        house.start("front")
        assert greet(house, bob)[0] == 200
        assert greet(house, ann)[0] == 401
        house.processes["front"].kill()
        house.processes["front"].wait(10)
        file.write_text("{")
        (house.folder / "said.jsonl").unlink()
        house.start("front")
        status, told = greet(house, bob)
        assert (status, told["code"]) == (503, "unavailable"), "nothing is known"  # type: ignore[index]


def test_a_token_taken_back_is_not_let_in_by_the_cache_of_heads(platform: Platform) -> None:
    with open_service("shop.py:Plain", env=platform.env) as house, house.wire() as wire:
        token = platform.sign()
        head = (
            f"POST /greet HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(BODY)}\r\n\r\n"
        )
        for _ in range(3):
            assert wire.ask(head.encode() + BODY)[0] == 200
        platform.wait_for_polls(2)
        platform.revoke("ann")
        wait_until(lambda: wire.ask(head.encode() + BODY)[0] == 401, "it is heard", 30)


def test_tokens_of_an_endpoints_own_issuer_are_taken_beside_the_platforms(platform: Platform, tmp_path: Path) -> None:
    key, other = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    plain = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    file = tmp_path / "jwks.json"
    wish = {"jwt_issuer": "https://id.example", "jwt_audience": "shop", "jwt_keys": str(file)}
    good = {"iss": "https://id.example", "aud": "shop", "sub": "ann", "exp": time() + 600}

    def token(with_key: Any = key, **claims: Any) -> str:
        told = {name: value for name, value in {**good, **claims}.items() if value is not None}
        return jwt.encode(told, with_key, algorithm="RS256", headers={"kid": "k1"})

    with open_service("shop.py:Plain", env=platform.env, **wish) as house:
        assert greet(house, token())[0] == 503, "its keys cannot be had"
        file.write_text(json.dumps({"keys": [{**plain, "kid": "k1", "alg": "RS256"}]}))
        wait_until(lambda: greet(house, token())[0] == 200, "they are fetched", 30)
        assert greet(house, token(sub=None))[0] == 200
        for wrong, why in (
            (token(other), "signature"),
            (token(aud="else"), "is for 'else'"),
            (token(aud=ENDPOINT), "is for"),
            (token(exp=None), "exp"),
            (token(exp=time() - 60), "has expired"),
            (token(iss="https://id.example/"), "nobody here trusts"),
        ):
            status, told = greet(house, wrong)
            assert status == 401 and why in str(told), told
        assert greet(house, platform.sign())[0] == 200
        platform.revoke("ann")
        wait_until(lambda: greet(house, platform.sign(age_s=60))[0] == 401, "it is heard", 30)
        assert greet(house, token())[0] == 200, "it is another ann"
        assert platform.asked == []


def test_an_older_server_that_tells_nothing_leaves_signed_tokens_out(platform: Platform) -> None:
    platform.is_closed = True  # to the question what is revoked it answers 403
    with open_service("shop.py:Plain", env=platform.env) as house:
        assert greet(house, "good")[0] == 200
        assert greet(house, platform.sign())[0] == 503
    platform.is_closed = False
