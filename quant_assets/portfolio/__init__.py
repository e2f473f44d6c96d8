"""What is held: weights inside a sector and the sectors' shares of the total portfolio."""
