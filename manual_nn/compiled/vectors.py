"""The width of the vectors that loops are compiled for: 512 bits, where the processor has them.

On most of Intel's processors with AVX-512, LLVM takes vectors of 256 bits, for some have run slower
for a while after wider ones. OpenBLAS takes the wide ones all the same, and loops over many numbers
are faster with them; rows of a few dozen may be slower, for more of their numbers fill no vector.
"""

from typing import Any

from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering

ATTRIBUTE = '"prefer-vector-width"="512"'  # of a function of LLVM, meant for AVX-512


class _Lower(Lower):  # type: ignore[misc] # it is Any to mypy
    def setup_function(self, fndesc: Any) -> None:
        """Begin a function."""
        super().setup_function(fndesc)
        set.add(self.function.attributes, ATTRIBUTE)  # whose own `add` knows none with a value


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(NativeLowering):  # type: ignore[misc] # likewise
    """Numba's own, for wide vectors."""

    _name = "lowering_for_wide_vectors"

    @property
    def lowering_class(self) -> Any:
        """What writes the functions of LLVM."""
        return _Lower


class Compiler(CompilerBase):  # type: ignore[misc] # likewise
    """Numba's own, for wide vectors."""

    def define_pipelines(self) -> list[PassManager]:
        """Give the steps of the compilation."""
        steps = DefaultPassBuilder.define_nopython_pipeline(self.state)
        steps.passes = [
            (_Lowering if step is NativeLowering else step, description)
            for step, description in steps.passes
        ]
        steps.finalize()
        return [steps]
