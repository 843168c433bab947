"""The object layer: content cut into chunks, each encoded, sealed and kept once, in packs over any driver.

`docs/vault-format.md` says every byte. What flows: bytes -> `cutting` -> chunks -> ids (`Domain.name`) -> `codecs` ->
boxes, in a `PackWriter` -> one driver key for each pack. Back: `PackReader` -> box -> chunk, its id computed again.
"""
