"""Shell completion with what is on the server: ids of jobs, names of endpoints, versions. Quick, or nothing."""

import asyncio
from collections.abc import Awaitable, Callable

import click
from click.shell_completion import CompletionItem

from lepton.core.errors import LeptonError
from lepton.sdk.client import AsyncClient, connect_async

LONGEST_S = 2.0
"""Nobody waits longer for a completion."""
SHOWN = 50
Found = list[tuple[str, str]]
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def completer(find: Callable[[AsyncClient], Awaitable[Found]]) -> Completer:
    """A function for `shell_complete` that offers what `find` finds: (word, what it is)."""

    async def ask(workspace: str) -> Found:
        async with connect_async(workspace=workspace) as client:
            return await find(client)

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            found = asyncio.run(asyncio.wait_for(ask(ctx.params.get("workspace") or ""), LONGEST_S))
        except (LeptonError, TimeoutError):
            return []
        return [CompletionItem(word, help=text) for word, text in found if word.startswith(incomplete)]

    return complete


async def _jobs(client: AsyncClient) -> Found:
    return [(job.id, f"{job.name} {job.state}") for job in await client.jobs.list(limit=SHOWN)]


async def _endpoints(client: AsyncClient) -> Found:
    return [(end.name, end.state) for end in await client.serve.list(limit=SHOWN) if end.state != "deleted"]


async def _versions(client: AsyncClient) -> Found:
    found = await client.catalog.list(limit=SHOWN)
    return [(version.ref, version.kind) for version in found if version.kind != "checkpoint"]


async def _datasets(client: AsyncClient) -> Found:
    return [(version.ref, version.kind) for version in await client.catalog.list(kind="dataset", limit=SHOWN)]


async def _models(client: AsyncClient) -> Found:
    return [(version.ref, version.kind) for version in await client.catalog.list(kind="model", limit=SHOWN)]


async def _queues(client: AsyncClient) -> Found:
    return [(queue["name"], "") for queue in await client.pool.queues()]


async def _nodes(client: AsyncClient) -> Found:
    return [(node["name"], node["state"]) for node in await client.pool.nodes()]


jobs, endpoints, versions = completer(_jobs), completer(_endpoints), completer(_versions)
datasets, models = completer(_datasets), completer(_models)
queues, nodes = completer(_queues), completer(_nodes)
