"""What starts runs inside Dagster: jobs."""
