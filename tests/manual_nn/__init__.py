"""Tests of manual_nn."""
