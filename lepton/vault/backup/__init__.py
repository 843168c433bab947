"""Backups: everything a platform is, on another storage, to be read there with the recovery key alone.

    lepton-backup            JSON: which platform's backups lie here
    backups/NNNNNNNN         one manifest for each backup, sealed; written last, never changed
    manifests/NNNNNNNN       its second copy
    domains/.../packs/...    packs, byte for byte as in the vault, so that they are copied once

A manifest holds the root key, what is needed to read the dump of the database (kept as content of the platform's own
domain), and which packs there were. `docs/vault-format.md` says every byte; `tools/restore.py` reads it with no Lepton.
"""
