"""The process that holds one worker of the local engine, and the zygotes it is forked from.

Every module here imports a few modules of the standard library and nothing else of Lepton: a shim lives as long
as its worker, once for each worker, and must stay small.

    engine -> zygote (socket) -> shim (fork) -> worker (fork, exec)                 any command
    engine -> warm zygote (socket) -> shim (fork) -> worker (fork, unwinds, runs)   a function (`Launch.entry`)

Only a parent learns an exit code, so the shim must be the worker's parent: to give a worker what a warm zygote has
imported, the shim itself comes from there. It pays with shared pages, not with memory of its own.

A **warm zygote** is for one `Launch.preload` and one environment of the interpreter. It imports those modules with one
thread and no device, proves that no thread came up, tells the engine, and forks what it is asked to. It holds no
secret: a launch's variables arrive in an anonymous file that only the shim reads. It ends when it was not used
for a while, or when the engine ends; its shims do not. The engine starts it in the background; until it is there, when
it dies or answers nothing, and for a launch that brings variables which a library may read at its import, a worker
starts cold from the plain zygote: a worker never fails because a zygote did.

A warm worker is what a cold one would be (`warm.py`): the fork leaves every frame of zygote and shim by `Reborn`, and
at the bottom of the stack its variables, arguments, folder, signals, descriptors, threads, random state and what /proc
shows of it are set before the entry is called. At the end of either threads are joined, `atexit` runs and output is
flushed; only the taking apart of modules and libraries is left out (`leaving.py`).
"""
