"""Tokens and memberships at rest. Users themselves are resources of kind `user`."""

from dataclasses import dataclass

from lepton.store.database import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is known of a user's token; the token itself is not kept."""

    id: str
    username: str
    label: str
    created_at: int
    expires_at: int | None = None


def add_token(tx: Tx, token: Token, *, hash: str) -> None:
    """Store a token by its hash."""
    tx.execute(
        "INSERT INTO tokens (hash, id, username, label, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
        (hash, token.id, token.username, token.label, token.created_at, token.expires_at),
    )


def token_by_hash(tx: Tx, hash: str) -> Token | None:
    """The token with that hash, expired or not."""
    row = tx.row("SELECT id, username, label, created_at, expires_at FROM tokens WHERE hash = ?", (hash,))
    return (
        None if row is None else Token(id=row[0], username=row[1], label=row[2], created_at=row[3], expires_at=row[4])
    )


def tokens_of(tx: Tx, username: str) -> list[Token]:
    """A user's tokens, newest first."""
    rows = tx.rows(
        "SELECT id, username, label, created_at, expires_at FROM tokens WHERE username = ? ORDER BY id DESC",
        (username,),
    )
    return [Token(id=row[0], username=row[1], label=row[2], created_at=row[3], expires_at=row[4]) for row in rows]


def drop_token(tx: Tx, id: str, username: str) -> bool:
    """Revoke a token; whether there was one."""
    return tx.execute("DELETE FROM tokens WHERE id = ? AND username = ?", (id, username)) == 1


def drop_tokens_of(tx: Tx, username: str) -> None:
    """Revoke all tokens of a user."""
    tx.execute("DELETE FROM tokens WHERE username = ?", (username,))
    tx.execute("DELETE FROM members WHERE username = ?", (username,))


def set_role(tx: Tx, workspace: str, username: str, role: str) -> None:
    """Make a user a member, or change the role."""
    tx.execute(
        "INSERT INTO members (workspace, username, role) VALUES (?, ?, ?) "
        "ON CONFLICT (workspace, username) DO UPDATE SET role = excluded.role",
        (workspace, username, role),
    )


def drop_member(tx: Tx, workspace: str, username: str) -> bool:
    """End a membership; whether there was one."""
    return tx.execute("DELETE FROM members WHERE workspace = ? AND username = ?", (workspace, username)) == 1


def drop_members_of(tx: Tx, workspace: str) -> None:
    """End all memberships of a workspace."""
    tx.execute("DELETE FROM members WHERE workspace = ?", (workspace,))


def roles_of(tx: Tx, username: str) -> dict[str, str]:
    """Workspace -> role."""
    rows = tx.rows("SELECT workspace, role FROM members WHERE username = ? ORDER BY workspace", (username,))
    return {row[0]: row[1] for row in rows}


def members_of(tx: Tx, workspace: str) -> dict[str, str]:
    """User -> role."""
    rows = tx.rows("SELECT username, role FROM members WHERE workspace = ? ORDER BY username", (workspace,))
    return {row[0]: row[1] for row in rows}
