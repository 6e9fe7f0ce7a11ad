"""Damaged files, each of which must be refused or read right."""
