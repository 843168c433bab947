"""`lepton vault certificate`: whether a certificate of an erasure is what the platform signed."""

from pathlib import Path

import click

from lepton.cli.output import Session, with_json
from lepton.cli.server import data_option
from lepton.cli.storages import FILE, key_option, opened, read_key_file
from lepton.core.errors import InvalidError
from lepton.core.size import number_of
from lepton.server import erasing
from lepton.server.house import Use

SIGNER_BYTES = 32


@click.command()
@click.argument("file", type=FILE)
@key_option
@click.option("--signer", default="", help="The platform's public key, 64 hexadecimal digits.")
@data_option
@with_json
def certificate(file: Path, key_file: Path | None, signer: str, data: Path | None, is_json: bool) -> None:
    """Check the signature of the certificate of an erasure, and say what it says.

    Whose it must be: --signer, or the platform of a --recovery-key; left out: the platform of the data directory.
    """
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as fault:
        raise InvalidError(f"{file} cannot be read: {fault}", fix="Name the file of the certificate.") from fault
    told = erasing.verify_certificate(text, _signer(key_file, signer, data))
    destroyed, held = told["destroyed"], told["backups"]
    assert isinstance(destroyed, dict) and isinstance(held, list)
    keys = number_of(int(destroyed["keys"]), "key")
    said = f"It is genuine: {keys} of {told['workspace']} destroyed at {str(told['at'])[:19]}"
    where = "; ".join(f"{place['at']} up to backup {place['up_to_backup']}, kept {place['kept']}" for place in held)
    Session(is_json).say(
        f"{said}. {f'Backups that still hold them: {where}' if held else 'No backup holds them'}.", told
    )


def _signer(key_file: Path | None, signer: str, data: Path | None) -> bytes:
    if key_file is not None:
        return read_key_file(key_file).signer
    if not signer:
        with opened(data, use=Use.READS) as house:
            return house.verifier
    try:
        found = bytes.fromhex(signer)
    except ValueError:
        found = b""
    if len(found) != SIGNER_BYTES:
        raise InvalidError("--signer is no public key", fix="Give 64 hexadecimal digits: `signer` of a recovery key.")
    return found
