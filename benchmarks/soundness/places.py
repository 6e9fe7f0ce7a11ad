"""Where in a loss another array may be planted, and mistakes of several operations together."""

import ast
import functools
import inspect
import itertools
import linecache
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.soundness import planted_readers as readers
from benchmarks.soundness import planted_regions as regions
from benchmarks.soundness import planted_swaps as swaps
from benchmarks.soundness.edges import Edge
from benchmarks.soundness.planting import EVERY, Place, Plant, Tape, line_of

Group: TypeAlias = tuple[Edge, ...]  # of edges that are planted alike

LARGEST_OF = {"max", "reduce_max", "argmax", "reduce_window_max"}
# What may choose elements of an array, and makes none
CHOOSING = LARGEST_OF | {
    "broadcast_in_dim", "concatenate", "copy", "dynamic_slice", "gather", "reshape", "select_n",
    "slice", "split", "squeeze", "transpose",
}  # fmt: skip
# What chooses elements at some values alone, as a softmax of 0 and 1, or hands nothing down
BLURRING = {"dot_general", "exp", "stop_gradient"}
# What reads an element several times, and what may stand beside it
SUMMING = {"add", "conv_general_dilated", "dot_general", "gather", "reduce_window_sum"}
LINEAR = {
    "broadcast_in_dim", "concatenate", "convert_element_type", "copy", "dynamic_slice", "neg",
    "pad", "reshape", "slice", "split", "squeeze", "transpose",
}  # fmt: skip
EXPONENTIAL = {
    "exp",
    "logistic",
    "log1p",
    "tanh",
    "logsumexp",
    "log_softmax",
    "softplus",
    "softmax",
}


class Places:
    """The arrays and edges of a loss on a tape.

    Args:
        tape: the loss.
    """

    def __init__(self, tape: Tape) -> None:
        """Find the edges."""
        self.tape, self.edges = tape, tape.edges()

    def alike(self, edge: Edge) -> list[Edge]:
        """List the edges of the same operation on the same line."""
        return self._by_line[self._line(edge)]

    @functools.cached_property
    def _by_line(self) -> dict[tuple[Any, ...], list[Edge]]:
        found: dict[tuple[Any, ...], list[Edge]] = {}
        for edge in self.edges:
            found.setdefault(self._line(edge), []).append(edge)
        return found

    @staticmethod
    def _line(edge: Edge) -> tuple[Any, ...]:
        shapes = tuple(np.shape(x) for x in edge.step.operands)
        return edge.file, edge.line, edge.name, edge.operand, shapes

    def loop(self, path: Sequence[int]) -> tuple[int, ...]:
        """Give the innermost loop that something is in; () outside of loops."""
        ways = (tuple(path[:n]) for n in range(len(path), 0, -1))
        return next((way for way in ways if way in self.tape.loops), ())

    # Another array

    @functools.cached_property
    def swapped(self) -> dict[str, list[Group]]:
        """List for each kind of swap the edges where it can be planted."""
        found: dict[str, list[Group]] = {}
        for kind, fits in swaps.FITS.items():
            groups = [group for edge in self.edges if fits(edge) for group in self._groups(edge)]
            found[kind] = [group for group in groups if self.sources(kind, group)]
        found[swaps.TOO_MANY] = [g for g in self.readers if self.sources(swaps.TOO_MANY, g)]
        found[swaps.UPDATED] = [
            (edge,)
            for edge in self.edges
            if swaps.is_of_a_product(edge) and self.sources(swaps.UPDATED, (edge,))
        ]
        return {kind: groups for kind, groups in found.items() if groups}

    def _groups(self, edge: Edge) -> Iterator[Group]:
        yield (edge,)
        group = tuple(self.alike(edge))
        if len(group) > 1 and group[0] == edge and not edge.looped:
            yield group

    @functools.cached_property
    def readers(self) -> list[Group]:
        """List the edges to each array outside of loops, all those of one together."""
        found: dict[int, list[Edge]] = {}
        for edge in self.edges:
            source = edge.step.ins[edge.operand]
            if not edge.looped and source is not None:
                found.setdefault(source, []).append(edge)
        return list(map(tuple, found.values()))

    def sources(self, kind: str, group: Group) -> list[tuple[Place, ...]]:
        """List what may stand at some edges where something else belongs, for each of them one."""
        edge = group[0]
        wanted = (
            edge.step.operands[edge.operand] if kind == swaps.TOO_MANY else swaps.replaced(edge)
        )
        if kind == swaps.UPDATED:
            return [] if edge.looped else self._updated(edge)
        turns = len(self.tape.made.get(Place(edge.path, 0), ()))
        if edge.looped and turns < 2:
            return []
        together = len(group) > 1 and kind != swaps.TOO_MANY
        found = self._of_lines(len(group)) if together else self._single(edge, turns)
        shape, loop = np.shape(wanted), self.loop(edge.path)
        if not shape:
            return []
        places = [
            some
            for some in found
            if all(
                self.loop(p.path) == loop and np.shape(self.tape.value(p)) == shape for p in some
            )
            and self.tape.value(some[0]).dtype == wanted.dtype
        ]
        if swaps.formulas(kind, edge) == [swaps.ITSELF]:
            places = [some for some in places if not self._equal(some, group)]
        return places

    def _single(self, edge: Edge, turns: int) -> Iterator[tuple[Place, ...]]:
        for place, numbers in self.tape.made.items():
            if len(numbers) == (turns if edge.looped else 1):
                yield (place,)

    def _of_lines(self, count: int) -> list[tuple[Place, ...]]:
        """List the results of each line that is run so many times."""
        lines = (line for line in self._by_line.values() if len(line) == count)
        found = (tuple(Place(edge.path, 0) for edge in line) for line in lines)
        return [places for places in dict.fromkeys(found) if set(places) <= self.tape.made.keys()]

    def _equal(self, places: Sequence[Place], group: Group) -> bool:
        pairs = zip(places, group, strict=False)
        return all(np.array_equal(self.tape.value(p), swaps.replaced(edge)) for p, edge in pairs)

    def _updated(self, edge: Edge) -> list[tuple[Place, ...]]:
        """Give the weight that an edge goes through, if its own gradient is right all the same."""
        other, own = (edge.step.ins[i] for i in (1 - edge.operand, edge.operand))
        if other not in self.tape.active or own is None or self.tape.depends(other, own):
            return []
        return [next((p,) for p, numbers in self.tape.made.items() if numbers == [other])]

    def swap(self, kind: str, group: Group, rng: np.random.Generator) -> list[Plant]:
        """Draw what stands at some edges in the place of something else."""
        sources = self.sources(kind, group)
        chosen = sources[int(rng.integers(len(sources)))]
        formula = str(rng.choice(swaps.formulas(kind, group[0])))
        return self.plants(kind, group, chosen, formula, float(rng.choice(swaps.RATES)))

    @staticmethod
    def plants(
        kind: str, group: Group, sources: Sequence[Place], formula: str, rate: float = 1.0
    ) -> list[Plant]:
        """Plant arrays at edges: for each its own, or the same for all."""
        every = sources if len(sources) == len(group) else [sources[0]] * len(group)
        return [
            Plant(edge.path, edge.operand, kind, rate, EVERY, place, formula)
            for edge, place in zip(group, every, strict=True)
        ]

    # What all that read an array hand down to it

    @functools.cached_property
    def exponentiated(self) -> list[Group]:
        """List the edges to each array that several operations read, and one exponentiates."""
        of = {edge.step.ins[edge.operand] for edge in self.edges if edge.name in EXPONENTIAL}
        return [
            group
            for group in self.readers
            if len(group) > 1
            and any(edge.name in EXPONENTIAL or of.intersection(edge.step.outs) for edge in group)
        ]

    # Several operations together

    @functools.cached_property
    def of_regions(self) -> dict[str, list[Plant]]:
        """List for each kind what can be planted."""
        found: dict[str, list[Plant]] = {}
        every = self._of_pairs(), self._of_arguments(), self._other_groups()
        for plant in itertools.chain(*every):
            found.setdefault(plant.kind, []).append(plant)
        return found

    @functools.cached_property
    def _made_by(self) -> dict[int, Edge]:
        """Say which operation has made an array that is differentiated, outside of loops."""
        steps = {edge.path: edge for edge in self.edges if edge.step.pull and not edge.looped}
        return {
            self.tape.made[place][0]: edge
            for path, edge in steps.items()
            if (place := Place(path, 0)) in self.tape.made
            and jnp.issubdtype(self.tape.value(place).dtype, jnp.floating)
        }

    @functools.cached_property
    def _places(self) -> dict[int, Place]:
        """Give the places of arrays that are differentiated, outside of loops, by number."""
        of_results = {number: Place(edge.path, 0) for number, edge in self._made_by.items()}
        given = {-1 - place.result: place for place in self.tape.made if not place.path}
        inputs = {self.tape.made[p][0]: p for p in given.values()}
        return of_results | {i: p for i, p in inputs.items() if i in self.tape.active}

    def _pairs(self) -> Iterator[tuple[int, int]]:
        for out in self._made_by:
            yield from ((source, out) for source in self._places if source < out)

    def _of_pairs(self) -> Iterator[Plant]:
        """Plant between an array and what it is told by the values of both that is made of it."""
        for source, out in self._pairs():
            if names := self.tape.depends(source, out):
                x, result = (np.asarray(self.tape.values[i]) for i in (source, out))
                yield from self._normalised(source, out, x, result)
                if not self._is_passed_on(source):
                    yield from self._chosen(source, out, names)
                    yield from self._summed(source, out, names)

    def _normalised(self, source: int, out: int, x: Any, n: Any) -> Iterator[Plant]:
        normal = regions.normal_of(x, n)
        if normal is None or not self._is_pulled(source, out, normal):
            return
        for kind, (form, _) in regions.OF_NORMALS.items():
            if form in {"", normal.form}:
                alone = kind == regions.DIAGONAL
                for axes in [()] if alone else regions.others(x, normal.right):
                    yield self._region(kind, source, out, axes)
        for place, numbers in self.tape.made.items():
            given = not place.path and numbers[0] not in self.tape.active
            if given and regions.may_be_variance(normal, x, np.asarray(self.tape.value(place))):
                plant = self._region(regions.OTHER_STATISTICS, source, out)
                yield plant._replace(statistic=place)

    def _is_pulled(self, source: int, out: int, normal: regions.Normal) -> bool:
        """Say whether all sums are handed through; in (x - m) / s they are to x, not to x - m.

        That is so where s is made of another x - m than the one that is divided.
        """
        x, result = (np.asarray(self.tape.values[i]) for i in (source, out))
        d_out = np.cos(np.arange(result.size, dtype=result.dtype)).reshape(result.shape)
        (right,) = jax.vjp(self.tape.through(source, out), self.tape.values[source])[1](d_out)
        want = regions.pulled(normal, x, d_out)
        near = float(np.sqrt(np.finfo(x.dtype).eps)) * abs(want).max()
        return bool((abs(np.asarray(right) - want) <= near).all())

    def _chosen(self, source: int, out: int, names: set[str]) -> Iterator[Plant]:
        """Plant where each result is the largest of some elements."""
        x, result = (np.asarray(self.tape.values[i]) for i in (source, out))
        if not names & LARGEST_OF or names & BLURRING or readers.places_in(x, result) is None:
            return
        if "reduce_window_max" not in names and readers.read_twice(x, result):
            yield self._region(readers.LAST_OF_SLICES, source, out)
            yield self._region(readers.FIRST_OF_SLICES, source, out)
        if x.shape != result.shape:
            yield self._region(readers.OF_A_MEAN, source, out)
            yield self._region(readers.TO_ALL, source, out)
        if x.ndim == result.ndim and x.shape != result.shape:
            for axis, (n, m) in enumerate(zip(x.shape, result.shape, strict=True)):
                if n == m > 1:
                    yield self._region(readers.IN_THE_FIRST, source, out, (axis,))

    def _summed(self, source: int, out: int, names: set[str]) -> Iterator[Plant]:
        """Plant where a result is a sum of elements, and of nothing else."""
        if not names & SUMMING or not names <= LINEAR | SUMMING or self._reads_others(source, out):
            return
        function = self.tape.through(source, out)
        x, result = (np.asarray(self.tape.values[i]) for i in (source, out))
        if readers.is_read_by_several(function, x, result.size):
            for kind in readers.OF_SUMS:
                yield self._region(kind, source, out)

    def _of_arguments(self) -> Iterator[Plant]:
        """Plant where all ways from an argument lead through a result that looks like it."""
        for source in self.tape.active:
            x = self.tape.values[source]
            for out in self._made_by:
                y = self.tape.values[out]
                if (y.shape, y.dtype) == (x.shape, x.dtype):
                    names = self.tape.depends(source, out)
                    if len(names) > 1 and not self.tape.leads_past(source, out):
                        yield self._region(regions.LEFT_OUT, source, out)

    def _is_passed_on(self, source: int) -> bool:
        """Say whether an array is some of another one, which the mistake may as well begin with."""
        maker = self._made_by.get(source)
        return maker is not None and maker.step.eqn.primitive.name in CHOOSING

    def _reads_others(self, source: int, out: int) -> bool:
        """Say whether anything but an array and constants of the loss is read on the way."""
        pure, others = {source}, set(self.tape.inputs) - {source}
        for step in self.tape.steps:
            if step.pull is None:
                inner = list(zip(step.ins, step.outs, strict=True))
                pure.update(to for i, to in inner if i in pure)
                others.update(to for i, to in inner if i in others)
            elif not others.isdisjoint(step.ins):
                others.update(i for i in step.outs if i != source)
            elif not pure.isdisjoint(step.ins):
                pure.update(step.outs)
        return out not in pure

    def _region(self, kind: str, source: int, out: int, axes: tuple[int, ...] = ()) -> Plant:
        path = self._made_by[out].path
        return Plant(path, 0, kind, 1.0, EVERY, self._places[source], "", axes)

    def _other_groups(self) -> Iterator[Plant]:
        for edge in self.edges:
            if edge.name != "mul" or edge.looped:
                continue
            other = np.asarray(edge.step.operands[1 - edge.operand])
            for number, place in self._places.items():
                x = np.asarray(self.tape.values[number])
                if x.ndim < 3 or edge.step.ins[edge.operand] == number:
                    continue
                if x.size == other.size and regions.of_another_group(x, other) is not None:
                    yield Plant(edge.path, edge.operand, regions.OF_GROUP, 1.0, EVERY, place)

    # What is said of them

    def said(self, sentence: str, place: Place, formula: str) -> bool:
        """Say whether a sentence may speak of what is made of an array.

        It does if it holds the array's name; for one that the source has no name for any will do.
        """
        name = self._name(place)
        if name:
            return f"`{formula.format(name)}`" in sentence
        anything = re.escape(formula.format("\0")).replace("\0", ".+")
        return formula == swaps.ITSELF or re.search(anything, sentence) is not None

    def _name(self, place: Place) -> str:
        """Name an array as the loss does, if that is plain: an argument, or all of a line."""
        if not place.path:
            return self._arguments.get(place, "")
        step = next(step for step in self.tape.steps if step.path == place.path)
        file, line = line_of(step.eqn)
        after = (*place.path[:-1], place.path[-1] + 1)
        following = next((s for s in self.tape.steps if s.path == after), None)
        if following is not None and line_of(following.eqn) == (file, line):
            return ""  # a part of what the line computes
        with_name = re.match(r"\s*(\w+) = ", text := linecache.getline(file, line))
        if with_name is None:
            return ""
        try:
            ast.parse(text.strip())
        except SyntaxError:  # of several lines
            return ""
        return with_name[1]

    @functools.cached_property
    def _arguments(self) -> dict[Place, str]:
        parameters = list(inspect.signature(self.tape.function).parameters.values())
        if any(p.kind == p.VAR_POSITIONAL for p in parameters):
            return {}
        names = [
            p.name + jax.tree_util.keystr(path)
            for p, arg in zip(parameters, self.tape.args, strict=False)
            for path, _ in jax.tree_util.tree_leaves_with_path(arg)
        ]
        return {Place((), -1 - i): name for i, name in enumerate(names)}
