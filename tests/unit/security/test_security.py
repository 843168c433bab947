"""Identity, policy and keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton.core.errors import IntegrityError
from lepton.security.identity import Principal, hash_token, make_token, read_worker_token, worker_token
from lepton.security.key import derive, seal, unseal
from lepton.security.policy import Action, allows

KEY = b"k" * 32


@pytest.mark.parametrize(
    ("role", "reaches"),
    [
        ("viewer", {"read"}),
        ("editor", {"read", "write"}),
        ("admin", {"read", "write", "admin"}),
        ("", set()),
        ("god", set()),
    ],
)
def test_a_role_reaches_what_it_says_and_only_in_its_workspace(role: str, reaches: set[str]) -> None:
    who = Principal(name="ada", roles={"w": role})
    assert {action for action in Action if allows(who, action, "w")} == reaches
    assert not any(allows(who, action, "other") for action in Action)


def test_a_platform_admin_reaches_everything() -> None:
    assert all(allows(Principal(name="root", is_platform_admin=True), action, "any") for action in Action)


def test_tokens_are_long_and_differ() -> None:
    assert len({make_token() for _ in range(100)}) == 100
    assert len(make_token()) > 40
    assert hash_token("a") != hash_token("b")


def test_a_worker_token_speaks_for_one_start_of_one_job() -> None:
    token = worker_token(KEY, "job_1", 2)
    assert read_worker_token(KEY, token) == ("job_1", 2)
    assert read_worker_token(b"x" * 32, token) is None


@given(st.text(max_size=200))
def test_no_text_passes_for_a_worker_token(text: str) -> None:
    assert read_worker_token(KEY, text) is None
    assert read_worker_token(KEY, f"lpw_job_1.0.{text}") is None


@given(plain=st.binary(max_size=300), place=st.text(max_size=20))
def test_a_sealed_secret_opens_only_where_it_was_sealed(plain: bytes, place: str) -> None:
    key = derive(KEY, "secrets")
    box = seal(key, plain, place=place)
    assert unseal(key, box, place=place) == plain
    changed = box[:-1] + bytes([box[-1] ^ 1])
    for args in (
        (derive(KEY, "other"), box, place),
        (key, box, place + "x"),
        (key, changed, place),
        (key, box[:5], place),
    ):
        with pytest.raises(IntegrityError):
            unseal(args[0], args[1], place=args[2])
