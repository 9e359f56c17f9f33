"""Durable storage of one member; `base` has the protocol, `sqlite` and `memory` implement it."""
