"""Tests of benchmarks.soundness."""
