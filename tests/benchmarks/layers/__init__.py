"""Tests of benchmarks.layers."""
