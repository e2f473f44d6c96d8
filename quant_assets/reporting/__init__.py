"""The operations report: figures, one HTML page and a small picture per sector and month."""
