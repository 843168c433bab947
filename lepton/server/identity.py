"""Who a job's workers are: the variables that tell them where the server is and prove what they may do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from lepton.core.resource import Resource
from lepton.jobs.spec import JobSpec
from lepton.security.identity import worker_token
from lepton.security.jwts import Signer
from lepton.security.key import Root, derive
from lepton.server.people import open_secret
from lepton.store.database import Tx

ISSUER_CHARS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Keys derived from the platform's root key, one a purpose."""

    secrets: bytes
    workers: bytes
    signer: Signer
    """Signs the tokens that endpoints check by themselves."""

    @classmethod
    def of(cls, root: Root) -> Self:
        """All of them."""
        issuer = f"urn:lepton:{root.own('issuer').hex()[:ISSUER_CHARS]}"
        return cls(
            secrets=derive(root.key, "secrets"),
            workers=root.own("workers"),
            signer=Signer(root.own("jwts"), issuer),
        )


class WorkerIdentity:
    """Makes the environment of a job's workers."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self.url = ""
        """Address of the door; set once it listens."""

    def __call__(self, tx: Tx, job: Resource, spec: JobSpec) -> Mapping[str, str]:
        """The variables for the present start of a job, its secrets opened.

        Raises:
            NotFoundError: a secret has been deleted since the job was submitted.
        """
        opened = {
            variable: open_secret(tx, job.workspace, name, key=self._keys.secrets)
            for variable, name in spec.secrets.items()
        }
        token = worker_token(self._keys.workers, job.id, int(job.status.get("generation", 0)))
        return {**opened, "LEPTON_URL": self.url, "LEPTON_TOKEN": token, "LEPTON_WORKSPACE": job.workspace}
