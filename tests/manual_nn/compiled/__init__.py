"""Tests of manual_nn.compiled."""
