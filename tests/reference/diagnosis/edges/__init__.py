"""Tests of reference.diagnosis.mlp."""
