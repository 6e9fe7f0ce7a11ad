"""The layers whose passes Numba compiles, under the names and signatures of `manual_nn.layers`.

Each file is the twin of the one of its name there, whose parameters, checks and derivation it
shares: `forward(params, x, ...)` and `backward(params, kept, d_out)` give the same up to rounding.
An import chooses, `from manual_nn.compiled.layers import layer_norm` in the place of
`from manual_nn.layers import layer_norm`; the first call with a dtype compiles, for seconds. What
one of them has kept is for its own backward alone, and some keep x
itself where NumPy's keep what they made of it: x must not change between the passes.

The two differ where a number on the way of one alone overflows or underflows: in float32, NumPy's
sigmoid of -95 is 0 and this one's subnormal, as it should be, and group_norm of the largest numbers
is finite here. An infinite derivative that comes to a ReLU of NaN gives NaN there, and 0 here.
"""

import importlib.util

if importlib.util.find_spec("numba") is None:
    raise ModuleNotFoundError(
        "manual_nn.compiled.layers needs Numba: pip install 'manual-nn[fast]', or take "
        "manual_nn.layers, which computes the same",
        name="numba",
    )
