"""The layers whose passes Numba compiles, under the names and signatures of `manual_nn.layers`.

Each file is the twin of the one of its name there, whose parameters, checks and derivation it
shares: `forward(params, x, ...)` and `backward(params, kept, d_out)` give the same up to rounding.
An import chooses, `from manual_nn.compiled.layers import layer_norm` in the place of
`from manual_nn.layers import layer_norm`; the first call with a dtype compiles, for seconds. What
one of them has kept is for its own backward alone, and some keep x
itself where NumPy's keep what they made of it: x must not change between the passes.
"""
