"""Tests of benchmarks.fuzzing."""
