"""Which backups a place has lost: each manifest says which were to lie beside it, and a signed file which were let go.

Who can delete there cannot sign, so that he cannot make a loss look like retention. What is noted and lies there still
(of a `forget` that was refused) is dropped from the file by the next.
"""

import json
from collections.abc import Collection, Iterable
from contextlib import suppress

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lepton.core.errors import IntegrityError, NotFoundError
from lepton.vault.backup.manifest import Manifest, platform_opens, read_manifest
from lepton.vault.backup.target import Target, manifest_paths

LET_GO = "let-go"
PURPOSE = b"lepton let go 1"
MISSING = "it is missing: there is one copy only"
BEYOND_REPAIR = (
    "it is damaged in all its copies; repair takes it from a copy of this place, or lepton vault forget lets it go"
)
STRAY = "it is no backup of this platform; lepton vault forget --at URL --backup N removes it"


def let_go_of(target: Target, platform: str, verifier: bytes) -> set[int]:
    """Numbers of backups that the platform has let go of there; none where the file is damaged or another's."""
    return set(_read(target, platform, verifier)[1])


def is_list_spoiled(target: Target, platform: str, verifier: bytes) -> bool:
    """Whether that file is there, and is damaged or another's."""
    try:
        target.driver.head(LET_GO)
    except NotFoundError:
        return False
    return not _read(target, platform, verifier)[0]


def surely_gone(target: Target, manifests: Collection[Manifest]) -> set[int]:
    """Of backups that are not there those that were let go of, as manifests are signed: the newest expects them not."""
    newest = max(manifests, key=lambda manifest: manifest.number)
    expected = {number for manifest in manifests for number in manifest.beside or ()}
    return expected - {*(newest.beside or ())} - {*target.numbers()}


def bring_back(target: Target, others: Iterable[Target], platform: str, verifier: bytes) -> bool:
    """Write the file anew from a copy of the place, where it is damaged or missing; whether it was."""
    if _read(target, platform, verifier)[0]:
        return False
    found = next((body for other in others if (body := _read(other, platform, verifier)[0])), b"")
    if found:
        target.driver.put(LET_GO, [found])
    return bool(found)


def _read(target: Target, platform: str, verifier: bytes) -> tuple[bytes, list[int]]:
    """The file and its numbers; nothing where it is damaged, another's, or not there."""
    try:
        body = b"".join(target.driver.get(LET_GO))
        told = json.loads(body)
        numbers = [int(number) for number in told["let_go"]]
        signature = bytes.fromhex(told["signature"])
        Ed25519PublicKey.from_public_bytes(verifier).verify(signature, _signed(platform, numbers))
    except (NotFoundError, InvalidSignature, ValueError, KeyError, TypeError):
        return b"", []
    return body, numbers


def note(target: Target, platform: str, signer: bytes, gone: Collection[int]) -> None:
    """Note that backups are let go of, before they are."""
    key = Ed25519PrivateKey.from_private_bytes(signer)
    before = let_go_of(target, platform, key.public_key().public_bytes_raw())
    numbers = sorted((before - set(target.numbers())) | set(gone))
    signature = key.sign(_signed(platform, numbers)).hex()
    target.driver.put(LET_GO, [json.dumps({"let_go": numbers, "signature": signature}).encode()])


def missing(target: Target, manifest: Manifest, verifier: bytes) -> list[int]:
    """Numbers of backups that were to lie there beside this one, do not, and were not let go of."""
    wanted = set(manifest.beside or ())
    lost = wanted - set(target.numbers())
    return sorted(lost - let_go_of(target, manifest.platform, verifier)) if lost else []


def faulty(target: Target, opens: tuple[bytes, bytes]) -> dict[str, str]:
    """Where a manifest lies, or should -> what is wrong with it, of all backups; each has two copies.

    Args:
        opens: what the platform opens manifests with, and verifies them with.
    """
    found = dict[str, str]()
    for number in target.numbers():
        try:
            there = target.read(number)
        except NotFoundError:  # it was let go of meanwhile
            continue
        whole = [path for path, body in there.items() if is_its(opens, number, body)]
        if not whole:
            found[manifest_paths(number)[0]] = BEYOND_REPAIR
        else:
            wrong = (path for path in manifest_paths(number) if path not in whole)
            found |= {path: "it is damaged" if path in there else MISSING for path in wrong}
    with suppress(NotFoundError):  # no backup has that number
        found |= dict.fromkeys(target.read(0), STRAY)
    return found


def is_its(opens: tuple[bytes, bytes], number: int, body: bytes) -> bool:
    """Whether that is the manifest of a backup of the platform which opens and verifies its manifests with these."""
    try:
        platform_opens(read_manifest(body, signer=opens[1]), opens[0], number)
    except IntegrityError:
        return False
    return True


def _signed(platform: str, numbers: Collection[int]) -> bytes:
    return PURPOSE + json.dumps([platform, list(numbers)]).encode()
