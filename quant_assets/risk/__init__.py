"""Risk of a sector as it was known at a session: its equal-weight return and the regime that follows from it."""
