"""Training of deep models of any kind: the one way in which the platform uses Lightning. No network of any one kind."""
