"""The replicated key-value store as a deterministic state machine. Pure: standard library only.

- `store`: what the log drives; `commands` and `codec` are its input, `values` its answers.
- `sessions`: why a write that was sent again counts once. `locks`: who holds what, in order.
- `history`: the newest changes, for watches. `snapshot`: the whole state, in chunks.

Nothing here reads a clock: whether a session is over is decided by an entry of the log.
"""
