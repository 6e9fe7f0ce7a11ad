"""Tests of benchmarks.speed."""
