"""The pool as arrays: the same decisions as `pool.plan`, compiled, for clusters and traces of any size.

State is a handful of arrays (`state`); `cells` finds, takes and gives back devices; `choose` decides; `victims` finds
whom to preempt; `predict` learns how long jobs run; `replay` drives all of it through a trace in virtual time.
Everything here is plain Python over numpy arrays. Where numba is installed it is compiled at its first use.
"""
