"""Programs written for the vendor's Photon class, on our replicas.

They import `leptonai.photon`; `alias` makes that name mean the modules here, in replicas and in `lep` only. A photon
becomes an ASGI application (`app`), which a replica serves as a mount at the root (`program`).
"""
