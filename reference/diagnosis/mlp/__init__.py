"""The bugs that people write into the backward pass of our MLP, recognised by their gradients."""

from reference.diagnosis.mlp.model import recognise

__all__ = ["recognise"]
