"""The process that holds one worker of the local engine, and the zygote it is forked from.

Every module here imports a few modules of the standard library and nothing else of Lepton: a shim lives as long
as its worker, once for each worker, and must stay small.

    engine -> zygote (socket) -> shim (fork) -> worker (fork, exec)
"""
