"""Random networks, taken through `manual_nn` and through JAX, many or without end."""
