"""Tests of manual_nn.files."""
