"""A tile of a product of matrices, whose numbers stay in registers until all terms are added up.

In Python NumPy computes it. For compiled code it is written as instructions of LLVM, which does not
keep the numbers in registers if it is given loops over rows and columns. Axes: I rows and J columns
of the product; K is what is summed over.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from manual_nn.arrays import Array

ROWS = 8  # of a tile
WIDE, NARROW = 3, 1  # vectors in a row of a tile
BYTES = 64  # of a vector in AVX-512; for other processors LLVM splits it


def wide_tile(
    a: Array, i: int, b: Array, j: int, factor: Any, kept: Any, other: Array, out: Array
) -> None:
    """Write factor a b + kept other to a tile of out, (I, J), for a, (I, K), and b, (K, J).

    The tile has ROWS rows from i on, or as many as are left, and WIDE vectors of columns from j on,
    which must exist. `other` may be `out`; where `kept` is 0, it does not matter what it holds. All
    arrays but `a` are in C order.
    """
    _tile(WIDE, a, i, b, j, factor, kept, other, out)


def narrow_tile(
    a: Array, i: int, b: Array, j: int, factor: Any, kept: Any, other: Array, out: Array
) -> None:
    """Do the same for a tile that is NARROW vectors wide."""
    _tile(NARROW, a, i, b, j, factor, kept, other, out)


def _tile(
    vectors: int,
    a: Array,
    i: int,
    b: Array,
    j: int,
    factor: Any,
    kept: Any,
    other: Array,
    out: Array,
) -> None:
    rows, columns = slice(i, i + ROWS), slice(j, j + vectors * BYTES // out.itemsize)
    before = kept * other[rows, columns] if kept else 0
    out[rows, columns] = factor * (a[rows] @ b[:, columns]) + before


def _for_compiled_code(vectors: int) -> Any:
    """Make what compiles a tile with this many vectors in a row: a call of its function."""

    @intrinsic  # type: ignore[untyped-decorator] # it is Any to mypy
    def tile(
        context: Any, a: Any, i: Any, b: Any, j: Any, factor: Any, kept: Any, other: Any, out: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            values: list[Any] = []
            for kind, value in zip(signature.args, arguments, strict=True):
                if isinstance(kind, types.Array):
                    array = context.make_array(kind)(context, builder, value)
                    sizes = cgutils.unpack_tuple(builder, array.shape)
                    values += array.data, *sizes, *cgutils.unpack_tuple(builder, array.strides)
                else:
                    values.append(value)
            number = context.get_value_type(signature.args[4])
            builder.call(_function(builder.module, vectors, number, values), values)
            return context.get_dummy_value()

        number, whole = out.dtype, types.intp
        return types.void(a, whole, b, whole, number, number, other, out), generate

    def overloaded(
        a: Any, i: Any, b: Any, j: Any, factor: Any, kept: Any, other: Any, out: Any
    ) -> Any:
        def call(
            a: Any, i: Any, b: Any, j: Any, factor: Any, kept: Any, other: Any, out: Any
        ) -> None:
            tile(a, i, b, j, factor, kept, other, out)

        return call

    return overloaded


overload(wide_tile)(_for_compiled_code(WIDE))
overload(narrow_tile)(_for_compiled_code(NARROW))


def _function(module: Any, vectors: int, number: Any, values: Sequence[Any]) -> Any:
    """Give the function of a tile, kept apart: LLVM would copy it to every place it is called."""
    kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
    name = f"manual_nn_tile_{vectors}_{number.intrinsic_name}"
    function = cgutils.get_or_insert_function(module, kind, name)
    if function.is_declaration:
        function.linkage = "linkonce_odr"
        function.attributes.add("noinline")
        builder = ir.IRBuilder(function.append_basic_block())
        arguments = iter(function.args)
        a, i, b, j, factor, kept, other, out = (
            _Matrix(*(next(arguments) for _ in _Matrix._fields)) if is_matrix else next(arguments)
            for is_matrix in (True, False, True, False, False, False, True, True)
        )
        _Writer(builder, vectors, number).write(a, i, b, j, factor, kept, other, out)
        builder.ret_void()
    return function


class _Matrix(NamedTuple):
    """A matrix: where it begins, its sizes, and how many bytes apart its rows and columns are."""

    start: Any
    rows: Any
    columns: Any
    by_row: Any
    by_column: Any


class _Writer:
    """Writes the instructions of a tile."""

    def __init__(self, builder: Any, vectors: int, number: Any) -> None:
        self.builder, self.vectors = builder, range(vectors)
        self.bytes = 8 if number == ir.DoubleType() else 4
        self.lanes = BYTES // self.bytes
        self.vector = ir.VectorType(number, self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)
        self.multiply_and_add = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(self.vector, [self.vector] * 3),
            f"llvm.fma.v{self.lanes}{number.intrinsic_name}",
        )

    def write(
        self,
        a: _Matrix,
        i: Any,
        b: _Matrix,
        j: Any,
        factor: Any,
        kept: Any,
        other: _Matrix,
        out: _Matrix,
    ) -> None:
        """Add up term after term, and then what is kept of `other`.

        Where fewer than ROWS rows are left, the last one stands in for each that is missing: it is
        computed several times over with the same result, and everything is read before anything is
        written.
        """
        builder = self.builder
        first_column = builder.mul(j, j.type(self.bytes))
        is_there = [
            builder.icmp_signed("<", builder.add(i, i.type(r)), out.rows) for r in range(1, ROWS)
        ]
        a_rows = self.rows(a, i, i.type(0), is_there)
        other_rows, out_rows = (
            self.rows(matrix, i, first_column, is_there) for matrix in (other, out)
        )
        # which are 0 at first
        sums = [[cgutils.alloca_once(builder, self.vector) for _ in self.vectors] for _ in a_rows]
        with cgutils.for_range(builder, a.columns) as loop:
            b_row = self.step(b.start, builder.add(builder.mul(loop.index, b.by_row), first_column))
            b_k = [builder.load(self.place(b_row, v), align=self.bytes) for v in self.vectors]
            to_column = builder.mul(loop.index, a.by_column)
            for a_row, row in zip(a_rows, sums, strict=True):
                a_k = self.in_all_lanes(builder.load(self.step(a_row, to_column)))
                for v in self.vectors:
                    added = builder.call(self.multiply_and_add, [a_k, b_k[v], builder.load(row[v])])
                    builder.store(added, row[v])
        factors, kepts = self.in_all_lanes(factor), self.in_all_lanes(kept)
        nothing = builder.fcmp_ordered("==", kepts, self.zero)
        for other_row, row in zip(other_rows, sums, strict=True):
            for v in self.vectors:
                read = builder.load(self.place(other_row, v), align=self.bytes)
                before = builder.select(nothing, self.zero, read)
                product = builder.fmul(factors, builder.load(row[v]))
                result = builder.call(self.multiply_and_add, [kepts, before, product])
                builder.store(result, row[v])
        for out_row, row in zip(out_rows, sums, strict=True):
            for v in self.vectors:
                builder.store(builder.load(row[v]), self.place(out_row, v), align=self.bytes)

    def rows(self, matrix: _Matrix, i: Any, column: Any, is_there: Sequence[Any]) -> list[Any]:
        """Give the addresses of the tile's rows in a matrix, that many bytes into each."""
        builder = self.builder
        found = [self.step(matrix.start, builder.add(builder.mul(i, matrix.by_row), column))]
        for one in is_there:
            found.append(self.step(found[-1], builder.select(one, matrix.by_row, i.type(0))))
        return found

    def step(self, address: Any, count: Any) -> Any:
        """Give the address that many bytes further on."""
        byte = ir.IntType(8).as_pointer()
        moved = self.builder.gep(self.builder.bitcast(address, byte), [count])
        return self.builder.bitcast(moved, address.type)

    def place(self, row: Any, v: int) -> Any:
        """Give the address of a vector in a row."""
        address = self.builder.gep(row, [ir.IntType(64)(v * self.lanes)])
        return self.builder.bitcast(address, self.vector.as_pointer())

    def in_all_lanes(self, number: Any) -> Any:
        """Fill a vector with one number."""
        whole = ir.IntType(32)
        first = self.builder.insert_element(self.zero, number, whole(0))
        lanes = ir.Constant(ir.VectorType(whole, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, self.zero, lanes)
