"""`lepton vault`: files of workspaces, of whoever may see them; backups, for who owns the data directory."""

from importlib import import_module

import click

from lepton.cli.group import Group
from lepton.cli.once import logged_once

FILES = (
    "cp", "ls", "cat", "rm", "mv", "du", "log", "diff", "undelete", "branches", "branch", "tag", "merge", "rollback",
    "retention", "quota", "mount",
)  # fmt: skip
"""Commands about files. The others open the data directory, and take longer to import; but for the door's."""
DOOR = "door"


class VaultGroup(Group):
    """Commands of three modules, each imported when one of its own is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Those about files first."""
        return [*FILES, *sorted([*self._backups().list_commands(ctx), DOOR])]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one."""
        if cmd_name in FILES:
            command: click.Command = import_module("lepton.cli.files").COMMANDS[cmd_name]
            return command
        if cmd_name == DOOR:
            door: click.Command = import_module("lepton.cli.receiving").door
            return door
        return self._backups().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As every group, but one about files, or the door, needs no look at the others; what they log is said once."""
        if args[0] in (*FILES, DOOR):
            return args[0], self.get_command(ctx, args[0]), args[1:]
        ctx.with_resource(logged_once())
        return super().resolve_command(ctx, args)

    def _backups(self) -> click.Group:
        found: click.Group = import_module("lepton.cli.vault").vault
        return found


@click.group(cls=VaultGroup)
def vault() -> None:
    """Files of workspaces, their versions, and backups of the whole platform.

    Commands about files (cp to rollback) ask the server, with your token. The others work on the data directory itself,
    beside a running server or without one; `door` needs none.
    """
