"""The pool as arrays: decisions for clusters and traces of any size, compiled where numba is installed.

State is a handful of arrays (`state`); `cells` finds, takes and gives back devices; `choose` decides; `victims` finds
whom to preempt; `predict` learns how long jobs run, and `trees` reads what was learned elsewhere; `replay` drives all
of it through a trace in virtual time. Everything here is plain Python over numpy arrays; numba compiles it at its
first use.
"""
