"""Tests of manual_nn.models."""
