"""Tests of reference.bounds."""
