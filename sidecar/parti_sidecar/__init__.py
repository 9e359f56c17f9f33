"""The sidecar process: drivers, storage, transport and APIs around the pure machines."""
