"""Which partitions a request needs, and which stored ones are stale and why: for the command and for sensors. Executes nothing."""
