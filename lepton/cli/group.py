"""A group of commands that answers a mistyped one with the nearest that there is."""

from difflib import get_close_matches

import click


class Group(click.Group):
    """As click's, but helpful with typing mistakes."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown command is answered with the nearest that there is."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-") and not ctx.resilient_parsing:
            near = get_close_matches(name, known, n=1)
            raise click.UsageError(
                f"No such command {name[:80]!r}." + (f" Did you mean {near[0]!r}?" if near else ""), ctx
            )
        return super().resolve_command(ctx, args)
