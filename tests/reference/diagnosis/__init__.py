"""Tests of reference.diagnosis."""
