"""The proven bound on what rounding can make of a function that JAX traces."""
