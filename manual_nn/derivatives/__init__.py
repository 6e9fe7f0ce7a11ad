"""Derivatives beyond the gradient: of single rows, along directions, and second ones."""
