"""Tests of manual_nn.checks."""
