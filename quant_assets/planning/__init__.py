"""Planning: partitions that a request needs, and stale partitions with reasons. Runs nothing."""
