"""Tests of manual_nn.interfaces."""
