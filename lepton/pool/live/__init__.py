"""The pool of a running server, kept up to date: what is true is entered as it happens, `decide` says what should be.

```text
nodes, queues, quotas, jobs  -> LivePool.put*()  -> the kernel's arrays -> decide(now) -> Plan: starts, stops
                                   ^                                                        |
                                   +------ what the server has stored of the plan ----------+
```

The arrays run ahead of the world. When a job is stopped for another, the kernel gives its places away at once; in the
world its workers take a while to end. Such a start is *promised*: it is in a plan only once every place of it is really
free (`real`), and until then `why` says whom it waits for. So a plan can be lost, refused or carried out in part, and
nothing is given away twice: what the server then stores or finds is put in again and wins.

A job is in one of these phases:

| phase | in the arrays | in the world |
| --- | --- | --- |
| out | absent | pauses before a retry, waits for jobs it depends on, or is being cancelled |
| waiting | in its class's heap | queued; or still ending because it was stopped for another |
| promised | holds its places | queued |
| running | holds its places | placed, running or ending: it really holds them |

Modules: `views` (what goes in and out), `layout` (nodes, queues and requests as cells, accounts and classes), `arrays`
(arrays that grow), `real` (what is really held, down to the index of a GPU), `forecast` (run times and waits), `recall`
(what happened before), `steady` (the pool's own time), `pool` (the whole), `why` (reasons),
`when` (when one that waits starts), `trial` (what if), `rerun` (which way of deciding would have been best).
"""
