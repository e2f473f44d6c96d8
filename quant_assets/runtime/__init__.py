"""Execution of the heavy part of a step: in its own process, in another one, or under torchrun."""
