"""Tests of reference.bounds.rules."""
