"""Workspaces, members, users, tokens and secrets, from Python."""

from collections.abc import Mapping
from typing import Any

from lepton.sdk.http import Http, part
from lepton.sdk.portal import Blocking, blocking

Rows = list[dict[str, Any]]


class AsyncSecurity:
    """Who may do what."""

    def __init__(self, http: Http, workspace: str) -> None:
        self._http = http
        self._workspace = workspace

    async def whoami(self) -> dict[str, Any]:
        """Whom the token speaks for, and the server's version."""
        found: dict[str, Any] = await self._http.get("/security/whoami")
        return found

    async def workspaces(self) -> Rows:
        """The workspaces the token reaches."""
        return await self._items("/security/workspaces")

    async def create_workspace(self, name: str) -> dict[str, Any]:
        """Make a workspace (administrators of the platform)."""
        made: dict[str, Any] = await self._http.post("/security/workspaces", {"name": name})
        return made

    async def delete_workspace(self, name: str) -> None:
        """End a workspace in which nothing lives."""
        await self._http.delete(f"/security/workspaces/{part(name)}")

    async def members(self) -> dict[str, str]:
        """User -> role, of this workspace."""
        found: dict[str, str] = (await self._http.get(f"/security/workspaces/{part(self._workspace)}/members"))[
            "members"
        ]
        return found

    async def set_role(self, user: str, role: str) -> dict[str, str]:
        """Give a user the role admin, editor or viewer in this workspace; an empty role ends the membership."""
        path = f"/security/workspaces/{part(self._workspace)}/members/{part(user)}"
        found: dict[str, str] = (await self._http.put(path, {"role": role}))["members"]
        return found

    async def users(self) -> Rows:
        """All users (administrators of the platform)."""
        return await self._items("/security/users")

    async def create_user(self, name: str, *, is_platform_admin: bool = False) -> dict[str, Any]:
        """Make a user (administrators of the platform)."""
        body = {"name": name, "is_platform_admin": is_platform_admin}
        made: dict[str, Any] = await self._http.post("/security/users", body)
        return made

    async def delete_user(self, name: str) -> None:
        """End a user, with all tokens and memberships."""
        await self._http.delete(f"/security/users/{part(name)}")

    async def create_token(self, user: str, *, label: str = "", lifetime_s: float | None = None) -> dict[str, Any]:
        """Make a token; `token` in the answer is shown only now.

        Args:
            user: for whom.
            label: what it is for.
            lifetime_s: seconds until it expires; never unless given.
        Raises:
            NotFoundError: there is no such user.
            ForbiddenError: it is somebody else's, and you are no administrator of the platform.
        """
        body: Mapping[str, Any] = {"label": label, "lifetime_s": lifetime_s}
        made: dict[str, Any] = await self._http.post(f"/security/users/{part(user)}/tokens", body)
        return made

    async def tokens(self, user: str) -> Rows:
        """A user's tokens, without the tokens themselves."""
        return await self._items(f"/security/users/{part(user)}/tokens")

    async def revoke_token(self, user: str, id: str) -> None:
        """End a token at once."""
        await self._http.delete(f"/security/users/{part(user)}/tokens/{part(id)}")

    async def create_jwt(self, endpoint: str = "", *, lifetime_s: int = 600) -> dict[str, Any]:
        """Make a signed token from yours: endpoints check it by themselves. `token` in the answer is shown only now.

        Args:
            endpoint: name or id of the one it is for; empty: all of this workspace.
            lifetime_s: seconds until it ends, at most a day; it ends with your own token in any case.
        Raises:
            NotFoundError: there is no such endpoint.
        """
        body: Mapping[str, Any] = {"endpoint": endpoint, "lifetime_s": lifetime_s}
        made: dict[str, Any] = await self._http.post("/security/jwts", body, workspace=self._workspace)
        return made

    async def revoke_jwt(self, user: str, id: str) -> None:
        """Take back a signed token of a user; endpoints hear of it at once."""
        await self._http.delete(f"/security/users/{part(user)}/jwts/{part(id)}")

    async def jwks(self) -> dict[str, Any]:
        """The public keys that signed tokens are checked with, and the platform's name in them."""
        found: dict[str, Any] = await self._http.get("/security/jwks")
        return found

    async def secrets(self) -> Rows:
        """Names of this workspace's secrets."""
        return await self._items("/security/secrets", workspace=self._workspace)

    async def set_secret(self, name: str, value: str) -> dict[str, Any]:
        """Store a secret, or replace it. Nobody can read it back; jobs get it as a variable."""
        made: dict[str, Any] = await self._http.put(
            f"/security/secrets/{part(name)}", {"value": value}, workspace=self._workspace
        )
        return made

    async def delete_secret(self, name: str) -> None:
        """Destroy a secret."""
        await self._http.delete(f"/security/secrets/{part(name)}", workspace=self._workspace)

    async def _items(self, path: str, **query: str) -> Rows:
        found: Rows = []
        cursor = ""
        while True:
            page = await self._http.get(path, **query, **({"cursor": cursor} if cursor else {}))
            found += page["items"]
            cursor = page.get("next") or ""
            if not cursor:
                return found


class Security(Blocking[AsyncSecurity]):
    """Who may do what."""

    whoami = blocking(AsyncSecurity.whoami)
    workspaces = blocking(AsyncSecurity.workspaces)
    create_workspace = blocking(AsyncSecurity.create_workspace)
    delete_workspace = blocking(AsyncSecurity.delete_workspace)
    members = blocking(AsyncSecurity.members)
    set_role = blocking(AsyncSecurity.set_role)
    users = blocking(AsyncSecurity.users)
    create_user = blocking(AsyncSecurity.create_user)
    delete_user = blocking(AsyncSecurity.delete_user)
    create_token = blocking(AsyncSecurity.create_token)
    tokens = blocking(AsyncSecurity.tokens)
    revoke_token = blocking(AsyncSecurity.revoke_token)
    create_jwt = blocking(AsyncSecurity.create_jwt)
    revoke_jwt = blocking(AsyncSecurity.revoke_jwt)
    jwks = blocking(AsyncSecurity.jwks)
    secrets = blocking(AsyncSecurity.secrets)
    set_secret = blocking(AsyncSecurity.set_secret)
    delete_secret = blocking(AsyncSecurity.delete_secret)
