"""Tests of manual_nn.training."""
