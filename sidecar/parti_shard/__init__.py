"""Sharding: who owns which partition, and how messages get there. Pure.

`Member` is one sidecar's heart: it composes a Raft replica with the parts of this package.

- `table`: the replicated state, changed by `commands` alone; `table_state` holds its invariants.
- `lease`: why two members never hold a live lease for one partition (the argument of G1).
- `coordinator`, `planning`, `placement`, `voters`: what the leader decides.
- `router`: the message path. `origin` and `parking` at the sidecar a message entered at, `intake`,
  `gate`, `delivery` and `tenures` at the owner.

Events and the time go in, effects come out: nothing here does I/O, reads a clock, draws random
numbers or logs. So the simulator runs exactly what the sidecar runs.
"""
