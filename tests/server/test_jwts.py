"""Signed tokens at the server's door: who gets one, who may take it back, and that fronts hear of it."""

from concurrent.futures import ThreadPoolExecutor

import jwt

from lepton.security.identity import worker_token
from lepton.security.revoked import of_jwt, of_token
from lepton.server.jwts import MOST_REVOKED, REMEMBER, revoke_one
from lepton.server.submit import Author
from lepton.store import revoked
from tests.server.house import API, House, error_of

ID = "jwt_" + "0" * 26
REVOKED = f"{API}/security/revoked"


def test_a_token_says_who_what_and_how_long(house: House) -> None:
    val = house.user("val", default="viewer")
    made = val.post(f"{API}/security/jwts", json={"lifetime_s": 60}).json()
    key = house.visitor().get(f"{API}/security/jwks").json()
    told = jwt.decode(
        made["token"],
        jwt.PyJWK(key["keys"][0]),
        algorithms=["EdDSA"],
        options={"verify_exp": False, "verify_aud": False, "verify_nbf": False, "verify_iat": False},
    )
    assert (told["iss"], told["sub"], told["jti"]) == (key["issuer"], "val", made["id"])
    assert told["aud"] == made["audience"] == "workspace:default"
    assert told["exp"] - told["iat"] == 60
    assert told["lepton_token"] == house.ask("GET", "/security/users/val/tokens")["items"][0]["id"]
    events = house.ask("GET", "/events?limit=1000")["items"]
    assert [event["verb"] for event in events if event["kind"] == "jwt"] == ["issued"]
    error_of(val.get(f"{API}/security/whoami", headers={"authorization": f"Bearer {made['token']}"}), 401)


def test_a_front_that_waits_hears_of_each_revocation(house: House) -> None:
    job = house.submit(course={"seconds": 1e9})["id"]
    front = house.visitor(worker_token(house.platform.keys.workers, job, 0))
    assert front.get(REVOKED).json() | {"keys": []} == {
        "issuer": house.platform.keys.signer.issuer,
        "keys": [],
        "seq": 0,
        "revoked": [],
    }
    house.user("val", default="viewer")
    token = house.ask("GET", "/security/users/val/tokens")["items"][0]["id"]
    seq = 0
    with ThreadPoolExecutor(1) as pool:
        for path, mark in (
            (f"/security/users/val/jwts/{ID}", of_jwt("val", ID)),
            (f"/security/users/val/tokens/{token}", of_token(token)),
        ):
            asked = pool.submit(front.get, REVOKED, params={"after": seq, "wait_s": 20})
            house.ask("DELETE", path, status=204)
            told = asked.result().json()
            assert [row[0] for row in told["revoked"]] == [mark]
            assert told["seq"] > seq
            seq = told["seq"]
    assert len(front.get(REVOKED).json()["revoked"]) == 2
    assert front.get(REVOKED, params={"after": seq}).json()["revoked"] == []
    later = front.get(REVOKED, params={"after": seq + 1_000_000, "wait_s": 20}).json()
    assert (len(later["revoked"]), later["seq"]) == (2, seq), "a database from a backup is behind what was told"


def test_only_its_user_and_administrators_take_a_token_back_and_not_too_many(house: House) -> None:
    val, ed = house.user("val", default="viewer"), house.user("ed", default="editor")
    assert val.delete(f"{API}/security/users/val/jwts/{ID}").status_code == 204
    error_of(ed.delete(f"{API}/security/users/val/jwts/{ID}"), 403, "forbidden")
    error_of(val.delete(f"{API}/security/users/val/jwts/tok"), 422)
    author = Author(actor="test", workspace="", at=house.platform.clock.now())
    for number in range(MOST_REVOKED - 1):
        house.platform.database.write(lambda tx, number=number: revoke_one(tx, "val", f"jwt_{number}", author))
    error_of(val.delete(f"{API}/security/users/val/jwts/{ID}"), 409, "capacity")
    house.engine.advance(REMEMBER / 1_000_000 + 1)
    house.platform.database.write(lambda tx: revoked.sweep(tx, int(house.platform.clock.now().timestamp() * 1_000_000)))
    assert val.delete(f"{API}/security/users/val/jwts/{ID}").status_code == 204
