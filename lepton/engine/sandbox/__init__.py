"""What holds a worker to its own part of the machine, applied by itself right before its first instruction.

Every module here imports the standard library only, as those of `shim` do: what runs here runs in a fork of a zygote.

    kernel -> namespace, landlock, filter, privileges -> confine
                                                      -> layers (which of them this machine has)
"""
