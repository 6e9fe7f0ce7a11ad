"""The twins of the models."""
