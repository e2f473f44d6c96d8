"""A quantitative-equity data platform whose every artifact is a Dagster asset by GICS sector and month."""

__version__ = "0.1.0"
