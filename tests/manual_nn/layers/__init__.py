"""Tests of manual_nn.layers."""
