"""Which partitions a request needs, which stored ones are stale and why: for the command and for sensors. Runs nothing."""
