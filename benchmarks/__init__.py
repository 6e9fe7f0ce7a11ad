"""Measurements of manual_nn, to be run from the root of the repository."""
