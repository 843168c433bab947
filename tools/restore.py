"""Restore a backup of Lepton into plain files, without Lepton.

    python restore.py --from DIR --recovery-key FILE --into DIR [--backup N]

DIR is a folder with backups: `lepton-backup`, `backups/`, `domains/`, `dumps/`. Needs Python 3.11 and the packages
cryptography (48 or newer), zstandard and blake3; lz4 too for packs of the hot tier. It imports nothing of Lepton; what
it reads is described byte by byte in `docs/vault-format.md`. It writes

    INTO/WORKSPACE/artifacts/KIND/NAME@NUMBER/PATH     the files of every version in the catalog
    INTO/WORKSPACE/branches/BRANCH/PATH                the files at the head of every branch and tag
    INTO/dump.jsonl                                    the database, a row a line

Every chunk is checked against its id, every file against its SHA-256. Files that are there and right are left alone, so
it can be stopped and begun again. What is damaged is named, the rest is written; the exit code is 1 then.
"""

import argparse
import json
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import file_digest, sha256
from pathlib import Path
from struct import Struct
from typing import Any, TypeVar

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
MANIFEST = Struct("<8sHHHI32s")
PACK_HEAD, PACK_END, PACK_ROW = Struct("<8sHBB4x16s16s16s"), Struct("<QII8x8s"), Struct("<32sIIB7x")
BOX = Struct("<16s16s32sIB")
RECORD, BLOB, PAGE = Struct("<32sQ"), Struct("<QB32s32s"), Struct("<BI")
LEAF, ABOVE = Struct("<HHq"), Struct("<H32sQQ")
TENANT, DOMAIN, CHUNK_ID, PACK = 1, 2, 3, 5
MOST_CHUNK = 256 << 10


Rows = dict[str, list[dict[str, Any]]]
"""Table -> its rows."""
Place = tuple[bytes, int, int, int, int, int]
"""Of a chunk: pack, number of the box, where it begins, bytes of the chunk and of the box, codec."""
Told = tuple[bytes, int, int]
"""Of a box: the chunk's id, its length, the codec."""
T = TypeVar("T")


class Damaged(Exception):  # noqa: N818  what is said to people, not an error of the program
    """Something cannot be read; its text says what."""


class Unwritable(Exception):  # noqa: N818
    """A file cannot be written where it belongs; its text says which, and why."""


class Keys:
    """Sealed keys, opened from the root down."""

    def __init__(self, root: bytes, rows: list[list[Any]]) -> None:
        self.root = root
        self.rows = {(row[0], row[1]): row for row in rows}

    def open(self, kind: int, owner: bytes) -> bytes:
        """The key of a tenant, domain or pack, or the id key of a domain."""
        row = self.rows.get((kind, owner))
        if row is None:
            raise Damaged(f"no key of {owner.hex()}")
        _, _, holder, holder_version, _, sealed = row
        above = self.root if holder == bytes(16) else self.open(TENANT if kind == DOMAIN else DOMAIN, holder)
        text = b"lepton key 1" + bytes([kind]) + owner + holder + holder_version.to_bytes(4, "little")
        return unsealed(above, sealed[:12], sealed[12:], text, f"the key of {owner.hex()}")


class Vault:
    """The chunks of a domain, in packs of a folder."""

    def __init__(self, folder: Path, keys: Keys, domain: bytes, packs: list[bytes]) -> None:
        self.keys, self.domain = keys, domain
        self.folders = [place / "domains" / domain.hex() / "packs" for place in (folder, folder / "dumps")]
        """The second has copies of what dumps lie in."""
        self.id_key = keys.open(CHUNK_ID, domain)
        self.places: dict[bytes, Place] = {}
        self.ciphers: dict[bytes, AESGCM] = {}
        for pack in packs:
            try:
                self.look(pack)
            except (Damaged, OSError) as fault:
                print(f"damaged: pack {pack.hex()}: {fault}", file=sys.stderr)

    def look(self, pack: bytes) -> None:
        """Read what a pack says that it holds, from the first copy that can be read."""
        key = self.keys.open(PACK, pack)
        self.ciphers[pack] = AESGCM(key)
        try:
            rows = self.first(pack, lambda path: self.directory(pack, path))
        except (Damaged, OSError):
            self.places |= self.first(pack, lambda path: self.rescued(pack, key, path.read_bytes()))
            return
        at = PACK_HEAD.size
        for number, (id, length, box, codec) in enumerate(PACK_ROW.iter_unpack(rows)):
            self.places[id] = pack, number, at, length, box, codec
            at += box

    def rescued(self, pack: bytes, key: bytes, body: bytes) -> dict[bytes, Place]:
        """Where chunks lie in a copy of a pack whose directory is damaged: read without seal, proved by them."""
        end, best = len(body) - PACK_END.size, dict[bytes, Place]()
        start, length, count, _ = PACK_END.unpack(body[end:]) if end > PACK_HEAD.size else (0, 0, 0, b"")
        for at in {start, end - length, end - 16 - count * PACK_ROW.size}:  # the end says it three times over
            if PACK_HEAD.size <= at < end - 16 and (end - at - 16) % PACK_ROW.size == 0:
                rows = list(PACK_ROW.iter_unpack(streamed(key, nonce(2**64 - 1), body[at : end - 16])))
                best = max(best, self.proved(pack, key, body[:at], rows), key=len)
        if not best:
            raise Damaged("its directory is damaged, and what of it is not says nothing")
        return best

    def proved(self, pack: bytes, key: bytes, body: bytes, rows: list[Any]) -> dict[bytes, Place]:
        """Of rows that may be wrong those places where a box opens; an id that is wrong follows from the content."""
        ahead, found = [PACK_HEAD.size], dict[bytes, Place]()
        for row in rows:
            ahead.append(ahead[-1] + row[2])
        behind = [len(body) - ahead[-1] + each for each in ahead]
        for number, (id, length, box, codec) in enumerate(rows):
            first, last = ahead[number], behind[number + 1]
            tries = dict.fromkeys([(first, box), (behind[number], box), (first, last - first)])
            for at, size in tries:
                sealed = body[at : at + size] if PACK_HEAD.size <= at <= at + size <= len(body) else b""
                told = self.told_by(pack, number, sealed, likely(key, self.id_key, number, sealed, (id, length, codec)))
                if told:
                    found[told[0]] = pack, number, at, told[1], size, told[2]
                    break
        return found

    def told_by(self, pack: bytes, number: int, sealed: bytes, tries: Iterator[Told]) -> Told | None:
        """What a box was written with: what it opens by."""
        for told in tries:
            with suppress(InvalidTag):
                self.ciphers[pack].decrypt(nonce(number), sealed, BOX.pack(self.domain, pack, *told))
                return told
        return None

    def directory(self, pack: bytes, path: Path) -> bytes:
        """The rows of a copy of a pack."""
        with path.open("rb") as file:
            head = file.read(PACK_HEAD.size)
            size = file.seek(0, 2)
            file.seek(max(0, size - PACK_END.size))
            end = file.read()
            if len(head) < PACK_HEAD.size or len(end) < PACK_END.size:
                raise Damaged("it is cut off")
            start, length, count, magic = PACK_END.unpack(end)
            if magic != b"LEPTPEND" or start + length + PACK_END.size != size:
                raise Damaged("its end is damaged")
            file.seek(start)
            sealed = file.read(length)
        try:
            rows = self.ciphers[pack].decrypt(nonce(2**64 - 1), sealed, head + end)
        except InvalidTag as fault:
            raise Damaged("its directory is damaged") from fault
        fields = PACK_HEAD.unpack(head)
        if (
            fields[:3] != (b"LEPTPACK", 1, 1)
            or fields[4:6] != (self.domain, pack)
            or len(rows) != count * PACK_ROW.size
        ):
            raise Damaged("its head is damaged")
        return rows

    def first(self, pack: bytes, read: Callable[[Path], T]) -> T:
        """What can be read from the first copy of a pack that it can be read from."""
        faults = list[Damaged | OSError]()
        for folder in self.folders:
            try:
                return read(folder / pack.hex()[:2] / pack.hex())
            except (Damaged, OSError) as fault:
                faults.append(fault)
        raise faults[0]

    def chunk(self, id: bytes) -> bytes:
        """One chunk, checked."""
        if id not in self.places:
            raise Damaged(f"the chunk {id.hex()} is in no pack that can be read")
        return self.first(self.places[id][0], lambda path: self.box(id, path))

    def box(self, id: bytes, path: Path) -> bytes:
        """One chunk, from that copy of its pack."""
        pack, number, at, length, box, codec = self.places[id]
        with path.open("rb") as file:
            file.seek(at)
            sealed = file.read(box)
        bound = BOX.pack(self.domain, pack, id, length, codec)
        try:
            plain = decoded(codec, self.ciphers[pack].decrypt(nonce(number), sealed, bound), length)
        except (InvalidTag, ValueError, zstandard.ZstdError) as fault:
            raise Damaged(f"box {number} of pack {pack.hex()}") from fault
        if len(plain) != length or blake3(plain, key=self.id_key).digest() != id:
            raise Damaged(f"box {number} of pack {pack.hex()}")
        return plain

    def content(self, blob: bytes) -> Iterator[bytes]:
        """The content that 73 bytes name."""
        size, depth, root, _ = BLOB.unpack(blob)
        if size:
            yield from self.below(root, depth)

    def below(self, id: bytes, depth: int) -> Iterator[bytes]:
        """The content under a page, or a chunk."""
        chunk = self.chunk(id)
        if depth == 0:
            yield chunk
            return
        for lower, _ in RECORD.iter_unpack(chunk):
            yield from self.below(lower, depth - 1)

    def names(self, page: bytes) -> Iterator[tuple[str, bytes]]:
        """Names of a tree, each with its blob."""
        body = self.chunk(page)
        level, count = PAGE.unpack_from(body)
        at = PAGE.size
        for _ in range(count):
            if level:
                name_bytes, lower, _, _ = ABOVE.unpack_from(body, at)
                at += ABOVE.size + name_bytes
                yield from self.names(lower)
            else:
                name_bytes, facts_bytes, _ = LEAF.unpack_from(body, at)
                start = at + LEAF.size + BLOB.size
                yield body[start : start + name_bytes].decode(), body[at + LEAF.size : start]
                at = start + name_bytes + facts_bytes


Wanted = tuple[Path, Vault | None, bytes]
"""A file to write, where its content is, and the blob that names it."""


def main() -> int:
    """Restore; the exit code."""
    parser = argparse.ArgumentParser(description="Restore a backup of Lepton into plain files, without Lepton.")
    parser.add_argument("--from", dest="source", type=Path, required=True, help="the folder of the backups")
    parser.add_argument("--recovery-key", type=Path, required=True, help="the file of the recovery key")
    parser.add_argument("--into", type=Path, required=True, help="where the files go")
    parser.add_argument("--backup", type=int, default=0, help="which backup; the newest if left out")
    given = parser.parse_args()
    try:
        return restore(given.source, read_key(given.recovery_key), given.into, given.backup)
    except OSError as fault:
        print(f"restore.py: {fault.filename or given.into}: {fault.strerror}", file=sys.stderr)
        return 1
    except (Damaged, Unwritable, ValueError, KeyError) as fault:
        print(f"restore.py: {fault}", file=sys.stderr)
        return 1


def read_key(path: Path) -> dict[str, Any]:
    """The recovery key in a file."""
    try:
        key: dict[str, Any] = json.loads(path.read_text())
        sizes = {len(bytes.fromhex(key[name])) for name in ("key", "signer")}
        form = key["lepton_recovery_key"]
        is_key = sizes == {32} and isinstance(key["at_least"], int)
    except (ValueError, KeyError, TypeError):
        is_key = False
    if not is_key:
        raise Damaged(f"{path} is no recovery key: give the file that was made with it")
    if form != 1:
        raise Damaged(f"{path} is a recovery key of a form that this script does not know: use a newer one")
    return key


def restore(source: Path, key: dict[str, Any], into: Path, number: int) -> int:
    """Write everything of one backup."""
    folders = [source / "backups", source / "manifests"]  # two copies of each
    there = [path for folder in folders for path in folder.glob("[0-9]" * 8) if int(path.name)]
    numbers = sorted({int(path.name) for path in there})
    if not numbers:
        raise Damaged(f"{source} has no backup")
    wanted = number or numbers[-1]
    copies = [path for path in there if int(path.name) == wanted]
    whose = platform_at(source)
    if copies and whose not in ("", key["platform"]) and not any(opens(path, key) for path in copies):
        raise Damaged(f"the recovery key is another platform's ({key['platform']}) than the backups ({whose})")
    if not number and wanted < key["at_least"]:
        raise Damaged(f"the newest backup is {wanted}, but {key['at_least']} had been made when the key was")
    try:
        manifest = first_whole(copies, key, wanted)
    except Damaged as fault:
        others = sorted({int(path.name) for path in there if path not in copies and opens(path, key)})
        told = f"; --backup N takes another: {', '.join(map(str, others[-20:]))}" if others else ""
        raise Damaged(f"backup {wanted}: {fault}{told}") from fault
    told = "" if key["at_least"] else " (freshness unproven: the key knows of no backup)"
    print(f"backup {wanted} of platform {manifest['platform']}{told}")
    root, own = bytes.fromhex(manifest["vault_root"]), bytes.fromhex(manifest["domain"])
    keys = Keys(
        root,
        [[row[0], *map(bytes.fromhex, row[1:3]), row[3], row[4], bytes.fromhex(row[5])] for row in manifest["keys"]],
    )
    platform = Vault(source, keys, own, [bytes.fromhex(pack) for pack, _ in manifest["packs"][own.hex()]])
    into.mkdir(parents=True, exist_ok=True)
    write(into / "dump.jsonl", platform, bytes.fromhex(manifest["dump"]), into)
    return write_all(source, root, tables(into / "dump.jsonl"), into)


def platform_at(source: Path) -> str:
    """Whose the backups are, as a file beside them says; empty where it cannot be read."""
    try:
        return str(json.loads((source / "lepton-backup").read_bytes())["platform"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def opens(path: Path, key: dict[str, Any]) -> bool:
    """Whether that is a manifest that the key opens."""
    with suppress(Damaged):
        return bool(opened(path.read_bytes(), key))
    return False


def write_all(source: Path, root: bytes, rows: Rows, into: Path) -> int:
    """Write the files of all workspaces; 1 if any could not be."""
    vaults = opened_vaults(source, root, rows)
    wanted, damaged = [*artifacts(rows, vaults, into)], 0
    spaces = {row["domain"]: row["workspace"] for row in rows["vault_domains"]}
    for row in rows["vault_heads"]:
        if not row["is_deleted"] and row["domain"] in vaults:
            folder = into / spaces[row["domain"]] / "branches" / safe(row["name"])
            try:
                wanted += branch(vaults[row["domain"]], row["version"], folder)
            except (Damaged, ValueError, KeyError) as fault:
                print(f"damaged: {folder.relative_to(into)}: {fault}", file=sys.stderr)
                damaged += 1
    for path, vault, blob in wanted:
        try:
            write(path, vault, blob, into)
        except Damaged as fault:
            print(f"damaged: {path.relative_to(into)}: {fault}", file=sys.stderr)
            damaged += 1
    print(f"{len(wanted)} file{'s' * (len(wanted) != 1)}, {damaged} damaged")
    return 1 if damaged else 0


def opened_vaults(source: Path, root: bytes, rows: Rows) -> dict[bytes, Vault]:
    """Domain -> its chunks, of every workspace."""
    columns = ("kind", "owner", "holder", "holder_version", "version", "sealed")
    keys = Keys(root, [[row[name] for name in columns] for row in rows["vault_keys"]])
    packs: dict[bytes, list[bytes]] = {}
    for row in sorted(rows["vault_packs"], key=lambda row: row["seq"]):
        if not row["is_gone"]:
            packs.setdefault(row["domain"], []).append(row["pack"])
    domains = [row["domain"] for row in rows["vault_domains"] if row["workspace"]]
    return {domain: Vault(source, keys, domain, packs.get(domain, [])) for domain in domains}


def artifacts(rows: Rows, vaults: dict[bytes, Vault], into: Path) -> Iterator[Wanted]:
    """The files of all versions in the catalog."""
    held = {(row["workspace"], row["digest"]): row for row in rows["holdings"]}
    for row in rows["versions"]:
        folder = into / row["workspace"] / "artifacts" / row["kind"] / f"{row['name']}@{row['number']}"
        for file in json.loads(row["files"]):
            found = held.get((row["workspace"], file["digest"])) or {}
            yield folder / safe(file["path"]), vaults.get(found.get("domain") or b""), found.get("blob") or b""


def branch(vault: Vault, version: bytes, folder: Path) -> list[Wanted]:
    """The files of a version."""
    tree = json.loads(vault.chunk(version))["root"]
    return [(folder / safe(name), vault, blob) for name, blob in vault.names(bytes.fromhex(tree))] if tree else []


def opened(body: bytes, key: dict[str, Any]) -> dict[str, Any]:
    """A manifest, its signature checked."""
    whole, signature = body[:-64], body[-64:]
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key["signer"])).verify(signature, whole)
    except InvalidSignature as fault:
        raise Damaged("the manifest is damaged, or signed by somebody else") from fault
    head = whole[: MANIFEST.size]
    magic, form, theirs, ours, size, commitment = MANIFEST.unpack(head)
    if (magic, form) != (b"LEPTBKUP", 1) or len(whole) != MANIFEST.size + theirs + ours + size:
        raise Damaged("the manifest is of a form that this program does not know")
    private = X25519PrivateKey.from_private_bytes(bytes.fromhex(key["key"]))
    try:
        content_key = SUITE.decrypt(whole[MANIFEST.size :][:theirs], private, b"lepton backup 1")
    except (InvalidTag, ValueError) as fault:
        raise Damaged("the backup does not open with this recovery key") from fault
    if sha256(b"lepton backup key 1" + content_key).digest() != commitment:
        raise Damaged("the manifest was sealed with another key")
    plain = unsealed(content_key, bytes(12), whole[MANIFEST.size + theirs + ours :], head, "the manifest")
    found: dict[str, Any] = json.loads(zstandard.ZstdDecompressor().decompress(plain, max_output_size=1 << 30))
    return found


def tables(path: Path) -> Rows:
    """Rows of the tables that say where content is."""
    names = ("vault_keys", "vault_packs", "vault_heads", "vault_domains", "holdings", "versions")
    rows: Rows = {name: [] for name in names}
    table, columns = "", []
    with path.open() as lines:
        for line in lines:
            found = json.loads(line)
            if isinstance(found, dict):
                table, columns = found.get("table", ""), found.get("columns", [])
            elif table in rows:
                values = (b64decode(value["b"]) if isinstance(value, dict) else value for value in found)
                rows[table].append(dict(zip(columns, values, strict=True)))
    return rows


def write(path: Path, vault: Vault | None, blob: bytes, into: Path) -> None:
    """Write a file, checked, under its name once it is whole."""
    if vault is None or len(blob) != BLOB.size:
        raise Damaged("it is in no pack")
    wanted = BLOB.unpack(blob)[3]
    if path.is_file():
        with path.open("rb") as file:
            if file_digest(file, "sha256").digest() == wanted:
                return
    draft, seen = into / ".restoring", sha256()  # no workspace can be called so
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as out:
            for piece in content(vault, blob):
                seen.update(piece)
                out.write(piece)
        if seen.digest() != wanted:
            raise Damaged("it has another SHA-256")
        draft.rename(path)
    except OSError as fault:
        raise Unwritable(f"{path} cannot be written: {fault.strerror}") from fault
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def content(vault: Vault, blob: bytes) -> Iterator[bytes]:
    """The content that a blob names; a pack that is not there is damage, and no fault of where it goes."""
    try:
        yield from vault.content(blob)
    except OSError as fault:
        raise Damaged(f"a pack cannot be read: {fault.strerror}") from fault


def first_whole(copies: list[Path], key: dict[str, Any], number: int) -> dict[str, Any]:
    """The manifest of a backup, from the first of its copies that can be read."""
    faults = [Damaged(f"there is no backup {number}")]
    for path in copies:
        try:
            manifest = opened(path.read_bytes(), key)
            if manifest["number"] == number:
                return manifest
            faults.append(Damaged(f"backup {number} is backup {manifest['number']} put in its place"))
        except Damaged as fault:
            faults.append(fault)
    raise faults[min(1, len(faults) - 1)]


def safe(name: str) -> str:
    """A name that stays inside its folder."""
    if not name or name.startswith("/") or any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
        raise Damaged(f"{name[:80]!r} would leave its folder")
    return name


def likely(key: bytes, id_key: bytes, number: int, sealed: bytes, stated: Told) -> Iterator[Told]:
    """What a box may have been written with: as its row states, or as its content tells."""
    yield stated
    coded = streamed(key, nonce(number), sealed[:-16])
    lengths = [stated[1], len(coded)]
    with suppress(zstandard.ZstdError):
        lengths.append(zstandard.get_frame_parameters(coded).content_size)
    for codec in dict.fromkeys((stated[2], 0, 1, 2, 4, 8, 16)):
        for length in (each for each in dict.fromkeys(lengths) if each <= MOST_CHUNK):
            with suppress(ValueError, ImportError, zstandard.ZstdError):
                plain = decoded(codec, coded, length)
                yield blake3(plain, key=id_key).digest(), len(plain), codec


def decoded(codec: int, body: bytes, length: int) -> bytes:
    """A chunk from what its box held."""
    if length > MOST_CHUNK:
        raise ValueError("too long")
    if codec == 0:
        return body
    if codec == 16:
        import lz4.block  # noqa: PLC0415  only packs of the hot tier need it

        try:
            return bytes(lz4.block.decompress(body, uncompressed_size=length))
        except lz4.block.LZ4BlockError as fault:
            raise ValueError(str(fault)) from fault
    if zstandard.get_frame_parameters(body).content_size != length:
        raise ValueError("another length")
    plain = zstandard.ZstdDecompressor().decompress(body, max_output_size=length)
    if codec == 1:
        return plain
    if codec not in (2, 4, 8):
        raise ValueError("an unknown codec")
    whole = length // codec
    out = bytearray(plain)
    for place in range(codec):
        out[place : whole * codec : codec] = plain[place * whole : (place + 1) * whole]
    return bytes(out)


def streamed(key: bytes, number: bytes, sealed: bytes) -> bytes:
    """What AES-256-GCM sealed, its tag left out: not proved."""
    return Cipher(AES(key), CTR(number + (2).to_bytes(4, "big"))).decryptor().update(sealed)


def unsealed(key: bytes, number: bytes, sealed: bytes, text: bytes, what: str) -> bytes:
    """What AES-256-GCM sealed."""
    try:
        return AESGCM(key).decrypt(number, sealed, text)
    except (InvalidTag, ValueError) as fault:
        raise Damaged(f"{what} does not open") from fault


def nonce(number: int) -> bytes:
    """The nonce of a box."""
    return bytes(4) + number.to_bytes(8, "little")


if __name__ == "__main__":
    sys.exit(main())
