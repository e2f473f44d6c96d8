"""Model inputs and labels."""
