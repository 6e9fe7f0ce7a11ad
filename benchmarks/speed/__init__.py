"""How fast it is, beside peers and beside the bare products of matrices."""
