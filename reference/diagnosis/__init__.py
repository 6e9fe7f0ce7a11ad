"""What is probably wrong with a gradient that disagrees with JAX."""
