"""Tests of benchmarks.mutation."""
