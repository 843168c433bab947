"""The object layer: content cut into chunks, each encoded, sealed and kept once, in packs over any driver.

`docs/vault-format.md` says every byte. What flows:

    bytes -> cutting -> chunks (named by keyed ids) -> codecs -> boxes -> packs -> driver
    blobs: the lists above the chunks of one content · pages, tree: names -> blobs · versions: a tree, when, by whom
    branches: where each stands · state: what must be known for certain, in Lepton's database · index: a cache

Back: name -> entry -> blob -> chunk ids -> index -> pack -> box -> chunk, its id computed again.
"""
