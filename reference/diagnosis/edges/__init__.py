"""Which operation of a loss is differentiated wrongly: mistakes on the edges of its backward pass.

An edge is where an operation hands a derivative down to one of its operands. The gradient is a sum
over paths along edges, so it is affine in a factor on any one of them, and what an edge contributes
is a difference of two gradients.
"""
