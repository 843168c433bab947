"""What a principal may do. Pure, total, small; asked once, at the door."""

from enum import StrEnum

from lepton.security.identity import Principal


class Action(StrEnum):
    """What a request wants to do in a workspace."""

    READ = "read"
    WRITE = "write"
    """Make, change and stop jobs, data, models and endpoints."""
    ADMIN = "admin"
    """Secrets, members and the workspace itself."""
    PLATFORM = "platform"
    """Workspaces, users and nodes: not inside any workspace."""


MOST_NAMED = 3
"""Workspaces that a refusal lists."""
ROLES: dict[str, frozenset[Action]] = {
    "viewer": frozenset({Action.READ}),
    "editor": frozenset({Action.READ, Action.WRITE}),
    "admin": frozenset({Action.READ, Action.WRITE, Action.ADMIN}),
    "worker": frozenset({Action.READ, Action.WRITE}),
}
"""Role -> what it reaches. `worker` is what a job's own processes have; routes that only people may use refuse it."""


def needed(action: Action) -> str:
    """The least role that reaches an action, in words."""
    return next((role for role, reach in ROLES.items() if action in reach), "administrator of the platform")


def shortfall(principal: Principal, action: Action, workspace: str = "") -> str:
    """In words: which role it takes, and which the principal has.

    Args:
        workspace: empty: anywhere.
    """
    if principal.job:
        return "This is not for a job's own token, which may only fetch, report and publish"
    if workspace:
        role = principal.roles.get(workspace, "no member")
        return f"In workspace '{workspace}' this needs the role {needed(action)}; you are {role}"
    has = ", ".join(f"{role} in '{name}'" for name, role in sorted(principal.roles.items())[:MOST_NAMED])
    more = " and more" if len(principal.roles) > MOST_NAMED else ""
    return f"This needs the role {needed(action)}; you are {has + more or 'a member of no workspace'}"


def allows(principal: Principal, action: Action, workspace: str) -> bool:
    """Whether the principal may do that there."""
    if principal.is_platform_admin:
        return True
    if action is Action.PLATFORM:
        return False
    return action in ROLES.get(principal.roles.get(workspace, ""), frozenset())
