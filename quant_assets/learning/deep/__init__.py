"""Training of deep models of any kind with Lightning. No network of a particular kind."""
