"""Compiled programs, kept so that the same operations are compiled once.

Whoever checks a gradient, mends it and checks it again has JAX trace the same loss anew, and gets
equal operations in other objects. They are recognised by what they are.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np
from jax.extend import core

# Characters of the programs that were used last, for each of which XLA holds on to 20 to 25 bytes.
KEPT = 40_000_000
LARGEST = 2**20  # bytes of constants, which a program holds on to
FAITHFUL = {"xla_backend_optimization_level": 0}
# It compiles in half of that time, but its fusions compute anew what several of them need, with a
# fused multiply-add in one and without in another, so that what should cancel does not quite.
FAST = FAITHFUL | {"xla_cpu_use_fusion_emitters": False}
# How a function is differentiated, which says nothing of its value, and is new in each trace.
OF_DERIVATIVES = {"bwd", "fwd_jaxpr_thunk", "jvp_jaxpr_fun"}

_programs: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()


def program(of: Hashable, *rest: Hashable, compiled: Callable[[], Any]) -> Any:
    """Give what was compiled of these operations for the same rest, or else compile it.

    Args:
        of: what `operations` says of them; None if they are always compiled anew.
        *rest: whatever else the result depends on.
        compiled: compiles them.
    """
    if of is None:
        return compiled()
    key = of, *rest
    if key not in _programs:
        made = compiled()
        _programs[key] = made, _length(made)
        while sum(length for _, length in _programs.values()) > KEPT and len(_programs) > 1:
            _programs.popitem(last=False)
    _programs.move_to_end(key)
    return _programs[key][0]


def _length(made: Any) -> int:
    """Count the characters of what was compiled, be there something else beside it."""
    compiled = (x for x in jax.tree.leaves(made) if isinstance(x, jax.stages.Compiled))
    return sum(len(x.as_text() or "") for x in compiled)


def compiled_fast(lowered: jax.stages.Lowered, *, faithful: bool = False) -> jax.stages.Compiled:
    """Compile what is run only a few times: without optimisation.

    Args:
        lowered: what to compile.
        faithful: whether what is computed twice must be the same number, as it must in the value
            that others are compared with.
    """
    options: Any
    for options in (FAITHFUL,) if faithful else (FAST, FAITHFUL):
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # this XLA does not know an option
            return lowered.compile(options)
    return lowered.compile()


def operations(jaxpr: core.ClosedJaxpr) -> Hashable:
    """Give what is equal for two jaxprs that compute the same operations on equal constants.

    Functions within them, such as callbacks, are equal only to themselves.

    Returns:
        None if something in the jaxpr cannot be compared, or its constants are too large to keep.
    """
    if sum(const.nbytes for const in jaxpr.consts if hasattr(const, "nbytes")) > LARGEST:
        return None
    try:
        key = _frozen(jaxpr)
        hash(key)
    except TypeError:
        return None
    return key


def _frozen(x: Any) -> Hashable:
    """Replace the variables of a jaxpr by numbers, and arrays by their bytes."""
    if isinstance(x, core.ClosedJaxpr):
        x = [x.jaxpr, x.consts]
    if isinstance(x, core.Jaxpr):
        return _jaxpr(x)
    if isinstance(x, (tuple, list)):
        return type(x), tuple(map(_frozen, x))
    if isinstance(x, dict):
        return dict, _frozen(tuple(x.items()))
    if hasattr(type(x), "__array__"):  # of NumPy, of JAX, or as JAX 0.8 writes numbers down
        array = np.asarray(x)
        if array.dtype.hasobject:
            raise TypeError("objects are not compared")
        return type(x), array.dtype, array.shape, array.tobytes()
    if isinstance(x, (bool, int, float, complex)):
        return type(x), repr(x)  # 1 is True, and 0.0 is -0.0, to ==
    return type(x), x


def _jaxpr(jaxpr: core.Jaxpr) -> Hashable:
    numbers: dict[Any, int] = {}

    def read(atom: Any) -> Hashable:
        if isinstance(atom, core.Literal):
            return atom.aval, _frozen(atom.val)
        return numbers[atom]

    def name(variables: Any) -> Hashable:
        numbers.update((variable, len(numbers) + i) for i, variable in enumerate(variables))
        return tuple(variable.aval for variable in variables)

    given = name([*jaxpr.constvars, *jaxpr.invars])
    equations = [
        (
            eqn.primitive,
            tuple(map(read, eqn.invars)),
            name(eqn.outvars),
            _frozen({key: eqn.params[key] for key in sorted(eqn.params.keys() - OF_DERIVATIVES)}),
        )
        for eqn in jaxpr.eqns
    ]
    return len(jaxpr.constvars), given, tuple(equations), tuple(map(read, jaxpr.outvars))
