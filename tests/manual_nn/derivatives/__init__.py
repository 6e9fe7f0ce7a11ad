"""Tests of manual_nn.derivatives."""
