"""Sentiment of texts about companies: scorers, their training and evaluation, and the scores of a session."""
