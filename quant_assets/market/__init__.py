"""The market as it was known: calendar, panels, universe, corporate actions, point-in-time statements."""
