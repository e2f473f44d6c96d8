"""What a text says of a company: scorers of texts, how they are trained and judged, and the scores of a session."""
