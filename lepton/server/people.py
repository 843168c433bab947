"""Workspaces, users, tokens, members and secrets: made and changed, each with its event."""

import base64
from dataclasses import replace
from datetime import datetime

from lepton.core.clock import to_micros
from lepton.core.errors import InvalidError, NameTakenError, NotFoundError
from lepton.core.event import Event
from lepton.core.ids import NAME, make_id
from lepton.core.resource import Json, Resource
from lepton.pool.quota import quota_name
from lepton.security.identity import Principal, hash_token, make_token
from lepton.security.key import seal, unseal
from lepton.security.policy import ROLES
from lepton.security.revoked import of_member, of_token, of_user
from lepton.server.jwts import revoke
from lepton.server.submit import Author, changed, created
from lepton.store import events, people, resources
from lepton.store.database import Tx
from lepton.store.people import Token

ADMIN = "admin"
DEFAULT_WORKSPACE = "default"


def bootstrap(tx: Tx, token: str, at: datetime) -> bool:
    """Give the first user this token unless it has one, made with the first workspace on a new database; whether so."""
    if people.tokens_of(tx, ADMIN):
        return False
    author = Author(actor="system", workspace="", at=at)
    if resources.by_name(tx, "user", "", ADMIN) is None:
        make_named(tx, "workspace", DEFAULT_WORKSPACE, {}, author)
        make_named(tx, "user", ADMIN, {"is_platform_admin": True}, author)
    issue_token(tx, ADMIN, label="first", expires_at=None, author=author, secret=token)
    return True


def make_workspace(tx: Tx, name: str, author: Author) -> Resource:
    """Make a workspace.

    Raises:
        NameTakenError: there is one of that name, or was: what it left behind must not fall to a new tenant.
    """
    if resources.list_page(tx, "workspace", "", where={"name": name}, limit=1):
        raise NameTakenError(f"There is, or was, a workspace '{name}'", fix="Choose a name that was never used.")
    return make_named(tx, "workspace", name, {}, author)


def make_named(tx: Tx, kind: str, name: str, spec: Json, author: Author) -> Resource:
    """Store a resource that is what it is from the start: a workspace, user or secret."""
    resource = Resource(
        id=make_id(kind, at=author.at),
        kind=kind,
        workspace=author.workspace,
        name=name,
        spec=spec,
        state="ready",
        created_at=author.at,
        updated_at=author.at,
    )
    return resources.insert(tx, resource, created(resource, author))


def find_named(tx: Tx, kind: str, workspace: str, name: str) -> Resource:
    """The living resource of that kind and name.

    Raises:
        NotFoundError: there is none.
    """
    found = resources.by_name(tx, kind, workspace, name) if NAME.fullmatch(name) else None
    if found is None:
        raise NotFoundError(f"There is no {kind} '{name[:80]}'", fix=f"List what there is: every {kind} has a name.")
    return found


def delete_named(tx: Tx, found: Resource, author: Author) -> None:
    """End a resource; its name is free again, its history stays."""
    gone = replace(found, state="deleted", is_final=True, updated_at=author.at, spec={})
    resources.update(tx, gone, changed(found, "deleted", author), expected=found.revision)


def delete_workspace(tx: Tx, found: Resource, author: Author) -> None:
    """End a workspace that nothing lives in, with its secrets and memberships.

    Raises:
        InvalidError: something still runs or serves there.
    """
    for kind in ("job", "endpoint"):
        living = [row for row in resources.alive(tx, kind) if row.workspace == found.name]
        if living:
            raise InvalidError(
                f"Workspace '{found.name}' still has {kind} '{living[0].name}'",
                fix=f"Stop or delete every {kind} first.",
            )
    if found.name == DEFAULT_WORKSPACE:
        raise InvalidError("The default workspace cannot be deleted", fix="Leave it empty instead.")
    for secret in resources.alive(tx, "secret"):
        if secret.workspace == found.name:
            delete_named(tx, secret, replace(author, workspace=found.name))
    people.drop_members_of(tx, found.name)
    _drop_quota(tx, quota_name("workspace", found.name), author)
    delete_named(tx, found, author)


def issue_token(
    tx: Tx, username: str, *, label: str, expires_at: int | None, author: Author, secret: str = ""
) -> tuple[Token, str]:
    """Make a token for a user; the second value is shown once and not kept."""
    user = find_named(tx, "user", "", username)
    secret = secret or make_token()
    token = Token(
        id=make_id("token", at=author.at),
        username=username,
        label=label,
        created_at=to_micros(author.at),
        expires_at=expires_at,
    )
    people.add_token(tx, token, hash=hash_token(secret))
    events.append(tx, changed(user, "token issued", author, f"{username}: {label}"))
    return token, secret


def revoke_token(tx: Tx, username: str, id: str, author: Author) -> None:
    """End a token at once.

    Raises:
        NotFoundError: the user has no such token.
    """
    user = find_named(tx, "user", "", username)
    if not people.drop_token(tx, id, username):
        raise NotFoundError(f"User '{username}' has no token {id[:80]!r}", fix="List the user's tokens.")
    events.append(tx, changed(user, "token revoked", author, f"{username}: {id}"))
    revoke(tx, of_token(id), username, author, why=f"{username}: all that was made from {id}")


def set_role(tx: Tx, workspace: str, username: str, *, role: str, author: Author) -> None:
    """Give a user a role in a workspace; an empty role ends the membership.

    Raises:
        InvalidError: no such role.
        NotFoundError: no such user, workspace or membership.
    """
    place = find_named(tx, "workspace", "", workspace)
    find_named(tx, "user", "", username)
    if role and role not in ROLES.keys() - {"worker"}:
        raise InvalidError(f"There is no role {role[:80]!r}", fix="Use admin, editor or viewer.")
    if role:
        people.set_role(tx, workspace, username, role)
    elif people.drop_member(tx, workspace, username):
        revoke(tx, of_member(workspace, username), username, author, why=f"{username}: all in '{workspace}'")
    else:
        raise NotFoundError(f"User '{username}' is no member of '{workspace}'", fix="List the members.")
    events.append(tx, changed(place, "member", author, f"{username}: {role or 'removed'}"))


def delete_user(tx: Tx, found: Resource, author: Author) -> None:
    """End a user, with all tokens and memberships."""
    people.drop_tokens_of(tx, found.name)
    _drop_quota(tx, quota_name("user", found.name), author)
    revoke(tx, of_user(found.name), found.name, author, why=f"{found.name}: all")
    delete_named(tx, found, author)


def _drop_quota(tx: Tx, name: str, author: Author) -> None:
    """Take a limit away with whom it was for: it must not fall to another of that name."""
    found = resources.by_name(tx, "quota", "", name)
    if found is not None:
        delete_named(tx, found, author)


def principal(tx: Tx, hash: str, now: int) -> Principal | None:
    """Whom a user token speaks for; None if it is unknown, revoked or expired."""
    token = people.token_by_hash(tx, hash)
    if token is None or (token.expires_at is not None and token.expires_at <= now):
        return None
    user = resources.by_name(tx, "user", "", token.username)
    if user is None:
        return None
    roles = people.roles_of(tx, user.name)
    return Principal(
        name=user.name,
        roles=roles,
        is_platform_admin=bool(user.spec.get("is_platform_admin")),
        token=token.id,
        expires_at=token.expires_at,
    )


def set_secret(tx: Tx, name: str, value: str, *, key: bytes, author: Author) -> Resource:
    """Store a secret, sealed; one of that name is replaced."""
    box = base64.b64encode(seal(key, value.encode(), place=f"{author.workspace}/{name}")).decode()
    found = resources.by_name(tx, "secret", author.workspace, name)
    if found is None:
        return make_named(tx, "secret", name, {"sealed": box}, author)
    newer = replace(found, spec={"sealed": box}, updated_at=author.at)
    return resources.update(tx, newer, changed(found, "replaced", author), expected=found.revision)


def open_secret(tx: Tx, workspace: str, name: str, *, key: bytes) -> str:
    """The value of a secret.

    Raises:
        NotFoundError: there is none of that name.
        IntegrityError: it was sealed with another platform key.
    """
    found = find_named(tx, "secret", workspace, name)
    return unseal(key, base64.b64decode(found.spec["sealed"]), place=f"{workspace}/{name}").decode()


def reseal_secrets(tx: Tx, old: bytes, new: bytes) -> int:
    """Seal all secrets under another key; return how many there are. To whoever uses them nothing has changed."""
    found = resources.alive(tx, "secret")
    for secret in found:
        place = f"{secret.workspace}/{secret.name}"
        plain = unseal(old, base64.b64decode(secret.spec["sealed"]), place=place)
        box = base64.b64encode(seal(new, plain, place=place)).decode()
        resources.set_spec(tx, secret, {**secret.spec, "sealed": box})
    return len(found)


def refused(path: str, workspace: str, *, actor: str, why: str, at: datetime) -> Event:
    """The audit event of a request that was not allowed."""
    return Event(subject=path[:200], kind="request", workspace=workspace, verb="refused", why=why, actor=actor, at=at)
