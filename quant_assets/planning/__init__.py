"""Which partitions a request needs, which are stale and why: for the command and for sensors. Runs nothing."""
