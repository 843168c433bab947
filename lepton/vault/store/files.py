"""Where packs lie in a storage, and their bytes there."""

from lepton.core.errors import IntegrityError, NotFoundError
from lepton.vault.driver import Driver


class PackFile:
    """The bytes of a pack in the storage."""

    def __init__(self, driver: Driver, domain: bytes, pack: bytes) -> None:
        self._driver, self._path = driver, pack_path(domain, pack)

    def read(self, start: int, stop: int) -> bytes:
        """Bytes `start` .. `stop`.

        Raises:
            IntegrityError: there is no such pack.
        """
        try:
            pieces = list(self._driver.get(self._path, start=start, stop=stop))
        except NotFoundError as fault:
            raise IntegrityError(
                f"{self._path} is missing", fix="lepton vault repair takes it from another copy."
            ) from fault
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def pack_folder(domain: bytes) -> str:
    """What the driver's keys of a domain's packs begin with."""
    return f"domains/{domain.hex()}/packs/"


def pack_path(domain: bytes, pack: bytes) -> str:
    """The driver's key of a pack."""
    return f"{pack_folder(domain)}{pack.hex()[:2]}/{pack.hex()}"


def pack_path_ids(path: str) -> tuple[bytes, bytes]:
    """(domain, pack) of the key of a pack."""
    _, domain, _, _, pack = path.split("/")
    return bytes.fromhex(domain), bytes.fromhex(pack)
