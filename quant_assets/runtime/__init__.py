"""Where the heavy part of a step runs: in its own process, in another one, under torchrun. Not what it does."""
