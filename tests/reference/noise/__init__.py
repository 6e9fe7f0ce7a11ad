"""Tests of reference.noise."""
