"""Learning: purged splits, training, validation metrics, and forecasts from stored checkpoints."""
