"""The operator: keeps the pods of every PartiCluster as its spec says.

Level-triggered: observe -> plan (pure) -> act (idempotent) -> status. The operator decides which
members there are; the Raft leader of the cluster decides where partitions go.
"""
