"""The layers: one file each, the forward pass directly followed by the backward pass."""
