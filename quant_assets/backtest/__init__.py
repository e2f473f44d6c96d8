"""What holding the decided weights would have earned, and the figures that sum it up."""
