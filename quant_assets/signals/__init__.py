"""Indicators, GARCH volatility and candidate selection."""
