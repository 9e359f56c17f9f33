"""Streams of frames on plain sockets: what members, and a sidecar and the SDK, have in common."""
