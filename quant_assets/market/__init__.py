"""Point-in-time market data: calendar, panels, universe, corporate actions, statements."""
