"""The twins of the layers: each forward pass from its definition."""
