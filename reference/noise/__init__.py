"""Measured rounding: how far a right implementation strays, played through; NOISE.md."""
