"""The door from Python: `connect()` and the two clients, which speak to the same server as the command line."""

from types import TracebackType
from typing import Self

from lepton.sdk.artifacts import AsyncCatalog, Catalog
from lepton.sdk.endpoints import AsyncServe, Serve
from lepton.sdk.find import find, workspace_of
from lepton.sdk.http import Http
from lepton.sdk.jobs import AsyncJobs, Jobs
from lepton.sdk.people import AsyncSecurity, Security
from lepton.sdk.pool import AsyncPool, Pool
from lepton.sdk.portal import Portal
from lepton.sdk.stations import AsyncData, AsyncObserve, AsyncOptimize, AsyncTrain, Data, Observe, Optimize, Train
from lepton.sdk.vault import AsyncVault, Vault


class AsyncClient:
    """One server, one token, one workspace. Use it as `async with connect_async() as client:`."""

    def __init__(self, http: Http, workspace: str) -> None:
        self.http = http
        self.workspace = workspace
        self.jobs = AsyncJobs(http, workspace)
        self.data = AsyncData(http, workspace)
        self.train = AsyncTrain(http, workspace)
        self.optimize = AsyncOptimize(http, workspace)
        self.serve = AsyncServe(http, workspace)
        self.observe = AsyncObserve(http, workspace)
        self.catalog = AsyncCatalog(http, workspace)
        self.pool = AsyncPool(http)
        self.security = AsyncSecurity(http, workspace)
        self.vault = AsyncVault(http, workspace)

    async def close(self) -> None:
        """Close the connections."""
        await self.http.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Client:
    """One server, one token, one workspace; every call blocks until it is answered."""

    def __init__(self, inner: AsyncClient, portal: Portal) -> None:
        self._inner = inner
        self._portal = portal
        self.jobs = Jobs(inner.jobs, portal)
        self.data = Data(inner.data, portal)
        self.train = Train(inner.train, portal)
        self.optimize = Optimize(inner.optimize, portal)
        self.serve = Serve(inner.serve, portal)
        self.observe = Observe(inner.observe, portal)
        self.catalog = Catalog(inner.catalog, portal)
        self.pool = Pool(inner.pool, portal)
        self.security = Security(inner.security, portal)
        self.vault = Vault(inner.vault, portal)

    @property
    def url(self) -> str:
        """The server's address."""
        return self._inner.http.address.url

    @property
    def workspace(self) -> str:
        """The tenant the calls are about."""
        return self._inner.workspace

    def close(self) -> None:
        """Close the connections, and end the thread behind them."""
        self._portal.run(self._inner.close())
        self._portal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self.url}, workspace {self._inner.workspace}>"


def connect_async(url: str = "", *, token: str = "", workspace: str = "") -> AsyncClient:
    """A client for `async` code. Arguments and errors are those of `connect`."""
    return AsyncClient(Http(find(url, token)), workspace_of(workspace))


def connect(url: str = "", *, token: str = "", workspace: str = "") -> Client:
    """A client of a Lepton server. No request is made before the first call.

    Args:
        url: LEPTON_URL, else the server that this user runs, unless given.
        token: LEPTON_TOKEN, else that server's first token, unless given.
        workspace: which tenant the calls are about; LEPTON_WORKSPACE, else `default`, unless given.
    Raises:
        UnreachableError: no server is named and none of yours runs.
        UnauthenticatedError: there is no token for it.
        ConfigError: the address or the workspace cannot be one.
    """
    return Client(connect_async(url, token=token, workspace=workspace), Portal())
