"""Signed tokens: made by the platform, proven by its public keys, and every other one told what is wrong with it."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from lepton.core.errors import InvalidError
from lepton.security.claims import LEEWAY_S, MAX_BYTES, BadJwtError, Claims, UnknownKeyError, check, read
from lepton.security.jwts import Keys, Signer
from lepton.security.revoked import MAX_LIFETIME_S, Grant, of_jwt, of_member, of_token, of_user

NOW = 1_800_000_000.0
SEED = bytes(range(32))
US = ("ep_1", "workspace:default")
SIGNER = Signer(SEED, "urn:lepton:test")
KEYS = Keys(SIGNER.keys)
GRANT = Grant(user="ann", id="jwt_1", parent="tok_1", workspace="default", issued_at=NOW)


def made(audience: str = "ep_1", lifetime_s: float = 600) -> bytes:
    return SIGNER.sign(GRANT, audience=audience, expires_at=NOW + lifetime_s).encode()


def judge(token: bytes, now: float = NOW, keys: Keys = KEYS) -> Claims:
    claims = read(token)
    check(claims, audiences=US, now=now)
    keys.prove(token, claims)
    return claims


def part(plain: Any) -> bytes:
    text = plain if isinstance(plain, bytes) else json.dumps(plain).encode()
    return urlsafe_b64encode(text).rstrip(b"=")


HEAD = {"alg": "EdDSA", "kid": SIGNER.keys[0]["kid"]}
BODY = {"iss": "urn:lepton:test", "aud": "ep_1", "sub": "ann", "exp": NOW + 60}
PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key()


def signed(head: Any = HEAD, body: Any = BODY) -> bytes:
    """A token with whatever in it, under the platform's own signature."""
    text = part(head) + b"." + part(body)
    return text + b"." + part(Ed25519PrivateKey.from_private_bytes(SEED).sign(text))


def test_what_the_platform_signs_holds_for_whom_it_is_until_it_ends() -> None:
    for audience in US:
        claims = judge(made(audience))
        assert (claims.subject, claims.grant) == ("ann", GRANT)
    assert judge(signed()).subject == "ann"
    assert judge(signed(body={**BODY, "aud": ["x", "ep_1"]})).audiences == ("x", "ep_1")
    judge(made(), NOW + 600 + LEEWAY_S - 1)
    judge(made(), NOW - LEEWAY_S)
    for wrong, now, why in (
        (made(), NOW + 600 + LEEWAY_S, "has expired, 10 s ago"),
        (made(), NOW - LEEWAY_S - 1, "not valid for another 1 s"),
        (made("ep_2"), NOW, "is for 'ep_2'"),
    ):
        with pytest.raises(BadJwtError, match=why):
            judge(wrong, now)


def test_its_key_is_the_same_after_a_restart_and_its_name_follows_rfc_7638() -> None:
    assert Signer(SEED, "urn:lepton:test").keys == SIGNER.keys
    assert Signer(bytes(32), "x").keys != SIGNER.keys
    known = {"crv": "Ed25519", "kty": "OKP", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}  # RFC 8037, A.3
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    (key,) = Signer(seed, "x").keys
    assert {name: key[name] for name in known} == known
    assert key["kid"] == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_nothing_is_signed_for_longer_than_a_day() -> None:
    made(lifetime_s=MAX_LIFETIME_S)
    for lifetime_s in (MAX_LIFETIME_S + 1, 0, -1):
        with pytest.raises(InvalidError):
            made(lifetime_s=lifetime_s)


def hmac_with_the_public_key() -> bytes:
    raw = PUBLIC.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return jwt.encode({**BODY}, raw, algorithm="HS256", headers={"kid": HEAD["kid"]}).encode()


SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024)


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (jwt.encode(BODY, None, algorithm="none").encode(), "three parts"),
        (part({"alg": "none"}) + b"." + part(BODY) + b".AA", "signed with 'none'"),
        (signed({**HEAD, "alg": "NoNe"}), "signed with 'NoNe'"),
        (signed({**HEAD, "alg": None}), "signed with 'None'"),
        (signed({**HEAD, "alg": ["EdDSA"]}), "signed with"),
        (hmac_with_the_public_key(), "signed with 'HS256'"),
        (signed({**HEAD, "alg": "ES256"}), "its key is for EdDSA"),
        (signed({**HEAD, "kid": "other"}), "names the key 'other'"),
        (signed({**HEAD, "kid": 7}), "`kid` of the JWT"),
        (signed({**HEAD, "crit": ["exp"]}), "asks for what is not known"),
        (signed({**HEAD, "typ": "JWE"}), "asks for what is not known"),
        (signed(b'{"alg":"EdDSA","alg":"EdDSA"}'), "header of the JWT cannot be read: a name appears twice"),
        (signed(body=b'{"exp":1,"exp":9999999999}'), "claims of the JWT cannot be read: a name appears twice"),
        (signed(body=b"[" * 3000), "claims of the JWT cannot be read"),
        (signed(body=b"[]"), "no JSON object"),
        (signed(body=b'{"iss":"\xff"}'), "claims of the JWT cannot be read"),
        (signed(body={**BODY, "exp": None}), "`exp` of the JWT"),
        (signed(body={name: value for name, value in BODY.items() if name != "exp"}), "`exp` of the JWT"),
        (signed(body={**BODY, "exp": True}), "`exp` of the JWT"),
        (signed(body={**BODY, "exp": "9999999999"}), "`exp` of the JWT"),
        (signed(body={**BODY, "exp": 10**400}), "`exp` of the JWT"),
        (signed(body=b'{"exp":NaN}'), "NaN is no number"),
        (signed(body=b'{"iss":"a","aud":"a","exp":1e999}'), "`exp` of the JWT"),
        (signed(body={**BODY, "nbf": "now"}), "`nbf` of the JWT"),
        (signed(body={**BODY, "nbf": NOW + 3600}), "not valid for another"),
        (signed(body={**BODY, "iat": NOW + 3600}), "not valid for another"),
        (signed(body={**BODY, "iss": None}), "`iss` of the JWT"),
        (signed(body={**BODY, "sub": "a\nb"}), "`sub` of the JWT"),
        (signed(body={**BODY, "sub": "\ud800"}), "`sub` of the JWT"),
        (signed(body={**BODY, "aud": None}), "`aud` of the JWT"),
        (signed(body={**BODY, "aud": []}), "is for 'nobody'"),
        (signed(body={**BODY, "aud": [["ep_1"]]}), "`aud` of the JWT"),
        (b"ey." * 3, "three parts"),
        (b"eyJ\xff\xfe.e30.AA", "cannot be read"),
        (b"eyJhbGciOiJFZERTQSJ9 .e30.AA", "cannot be read"),
        (b"ey." + b"x" * 100_000 + b".AA", f"longer than {MAX_BYTES}"),
        (signed()[:-4] + b"AAAA", "signature of the JWT is wrong"),
        (signed()[:-8], "signature of the JWT is wrong"),
        (signed() + b"!", "signature of the JWT is wrong"),
    ],
)
def test_every_other_token_is_refused_with_what_is_wrong(token: bytes, why: str) -> None:
    with pytest.raises(BadJwtError, match=why.replace("`", ".")) as told:
        judge(token)
    assert told.value.fix
    told.value.message.encode("utf-8", "surrogatepass")


@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 255))
def test_no_change_of_a_byte_makes_another_token_that_holds(more: bytes, at: int, byte: int) -> None:
    token = made()
    changed = token[: at % len(token)] + bytes([byte]) + token[at % len(token) + 1 :]
    for one in (changed, token + more, more, b"ey" + more, token.replace(b".", b"." + more, 1)):
        if one != token:
            with pytest.raises(BadJwtError):
                judge(one)


def test_keys_of_others_are_taken_by_their_own_algorithm_and_weak_ones_are_not() -> None:
    private = {"ES256": ec.generate_private_key(ec.SECP256R1()), "RS256": rsa.generate_private_key(65537, 2048)}
    found = []
    for name, key in private.items():
        plain = json.loads(jwt.algorithms.get_default_algorithms()[name].to_jwk(key.public_key()))
        found.append({**plain, "kid": name, "use": "sig"})
    weak = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(SHORT.public_key()))
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"}
    noise = [{"kty": "EC", "crv": "no"}, {"kty": 7}, {"kty": "RSA", "n": 3}, {**found[0], "use": "enc", "kid": "enc"}]
    keys = Keys.read(json.dumps({"keys": [*noise, secret, {**weak, "kid": "weak"}, *found]}).encode())
    assert len(keys) == 2
    for name, key in private.items():
        token = jwt.encode(BODY, key, algorithm=name, headers={"kid": name}).encode()
        assert judge(token, keys=keys).subject == "ann"
        with pytest.raises(BadJwtError, match="signature"):
            judge(jwt.encode(BODY, rsa_or_ec(name), algorithm=name, headers={"kid": name}).encode(), keys=keys)
    with pytest.raises(UnknownKeyError):
        judge(jwt.encode(BODY, private["ES256"], algorithm="ES256").encode(), keys=keys)
    with pytest.raises(UnknownKeyError):
        judge(signed(), keys=keys)


def rsa_or_ec(name: str) -> Any:
    return ec.generate_private_key(ec.SECP256R1()) if name == "ES256" else rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"keys": 7}', b'{"keys": [7]}', b'{"keys": []}', b"\xff"])
def test_what_is_no_jwks_is_told(text: bytes) -> None:
    with pytest.raises(InvalidError):
        Keys.read(text)


def test_a_grant_ends_with_each_of_four_things_of_its_own_user_only() -> None:
    marks = set(GRANT.marks())
    assert marks == {of_jwt("ann", "jwt_1"), of_token("tok_1"), of_user("ann"), of_member("default", "ann")}
    assert not marks & {of_jwt("bob", "jwt_1"), of_user("bob"), of_member("other", "ann"), of_user("ann\ntok_1")}
    assert not any("ann" in mark for mark in marks)
