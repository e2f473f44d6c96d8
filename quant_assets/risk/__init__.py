"""Risk of a sector as known at a session: of holdings, of its equal-weight return, and its regime."""
