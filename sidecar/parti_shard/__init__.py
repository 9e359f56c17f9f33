"""Sharding: the table of owners, sessions and leases, placement, moves and routing. Pure."""
