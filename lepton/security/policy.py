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


ROLES: dict[str, frozenset[Action]] = {
    "viewer": frozenset({Action.READ}),
    "editor": frozenset({Action.READ, Action.WRITE}),
    "admin": frozenset({Action.READ, Action.WRITE, Action.ADMIN}),
    "worker": frozenset({Action.READ, Action.WRITE}),
}
"""Role -> what it reaches. `worker` is what a job's own processes have; routes that only people may use refuse it."""


def allows(principal: Principal, action: Action, workspace: str) -> bool:
    """Whether the principal may do that there."""
    if principal.is_platform_admin:
        return True
    if action is Action.PLATFORM:
        return False
    return action in ROLES.get(principal.roles.get(workspace, ""), frozenset())
