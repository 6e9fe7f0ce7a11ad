"""Say in the words of a loss's source which of its operations is differentiated wrongly."""

import functools
import linecache
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jax.extend import core

from reference.arrays import counted
from reference.bounds.rules.calls import scan_counts
from reference.diagnosis.codes import Cause, Code, Line, Mark
from reference.diagnosis.difference import Difference, outside
from reference.diagnosis.edges.changes import Explanation, Mistake
from reference.diagnosis.edges.choices import named_factors
from reference.diagnosis.edges.expressions import Expression, expression_of, instructions
from reference.diagnosis.edges.flow import Flow
from reference.diagnosis.edges.functions import Function
from reference.diagnosis.edges.kinds import KINDS, REGIONS
from reference.diagnosis.edges.mistakes import is_broadcast
from reference.diagnosis.edges.operations import Operation, shapes_at
from reference.diagnosis.edges.patterns import OF_ARRAYS
from reference.diagnosis.edges.search import Search
from reference.diagnosis.edges.swaps import ANOTHER_FACTOR, FACTOR_TOO_MANY, written
from reference.diagnosis.edges.taps import EVERY, FACTOR, FIRST, Edge, Swap, Tap, Value
from reference.diagnosis.fitting import FINE, in_words
from reference.diagnosis.where import ordinal
from reference.jaxprs import user_frame

FORMS = {"broadcast_in_dim", "convert_element_type", "copy", "reshape", "squeeze"}
ADDITIONS = {"add", "add_any"}
SENTENCES = {name: kind.sentence for name, kind in (KINDS | REGIONS).items()}
SHOWN = 3  # of other places that would explain the same
ELSEWHERE = "; a mistake at "  # with which these places begin, at the end of the evidence


class Words:
    """The source of a loss, as far as it is known."""

    def __init__(self, search: Search) -> None:
        """Take the loss and its operations."""
        self.search, self.difference, self.tapped = search, search.difference, search.tapped
        self.flow = Flow(search.tapped)

    def causes(self, explanation: Explanation) -> list[Cause]:
        """Give a cause for each mistake of an explanation."""
        explanation = self._in_words(explanation)
        count = len(explanation.mistakes)
        both = f"with both of these {count} mistakes" if count > 1 else "with this mistake"
        text, size = outside(self.difference.leaves)
        evidence = f"{text}; {both} all {size:,} are within rounding"
        marks = tuple(self.marks(explanation).items())
        wrong = self.difference.wrong
        of_each = [
            self.search.reached(mistake) or wrong if count > 1 else wrong
            for mistake in explanation.mistakes
        ]
        others = self._others(explanation)
        parts = zip(explanation.mistakes, of_each, others, strict=True)
        causes = [
            self._cause(mistake, reached, evidence + other) for mistake, reached, other in parts
        ]
        return [replace(cause, marks=marks) for cause in causes]

    def doubt(self, explanation: Explanation) -> str:
        """Say what would explain the difference, but so might chance."""
        cause, *_ = self.causes(explanation)
        said = f"{cause.sentence[0].lower()}{cause.sentence[1:-1]}"
        return f"it would be explained if {said}, but one of those tried would be so by chance"

    def marks(self, explanation: Explanation) -> dict[Line, Mark]:
        """Mark the lines whose operations hand a derivative down."""
        told = [mistake for each, others in explanation.with_alike() for mistake in (each, *others)]
        edges = [tap.edge for mistake in told for tap in mistake.taps]
        wrong = {self._place(edge) for edge in edges}
        terms = {path for path in wrong if self._has_terms(path)}
        terms -= {tap.edge.path for m in told if self._is_mean(m) for tap in m.taps}
        if any(self._line_at(path) is not None for path in wrong - terms):
            wrong -= terms  # nobody gets the derivative of a sum in its terms wrong
        below = self._below(edges)
        calls = {path[:n] for path in wrong for n in range(1, len(path))}  # of what is wrong
        order, marks = list(Mark), dict[Line, Mark]()
        for path in dict.fromkeys(edge.path for edge in self.tapped.edges):
            if (at := self._line_at(path)) is None:
                continue
            within = any(path[: len(other)] == other for other in wrong)
            mark = Mark.WRONG if within else Mark.DOWNSTREAM if path in below else Mark.RIGHT
            if path in calls and mark == Mark.RIGHT:
                mark = Mark.DOWNSTREAM
            marks[at] = min(mark, marks.get(at, mark), key=order.index)
        return marks

    def _has_terms(self, path: tuple[int, ...]) -> bool:
        """Say whether an operation adds up what may be wrong: no constant alone is a term."""
        count = sum(edge.path == path for edge in self.tapped.edges)
        return self.tapped.operations[path].name in ADDITIONS and count > 1

    def _below(self, edges: Iterable[Edge]) -> set[tuple[int, ...]]:
        """List the operations that what is handed down on these edges comes to."""
        operations, found = self.tapped.operations, set[tuple[int, ...]]()
        ahead: list[Any] = [operations[edge.path].inputs[edge.operand] for edge in edges]
        for path in (edge.path for edge in edges if operations[edge.path].looped):
            loops = [path[:n] for n in range(1, len(path)) if _is_loop(operations[path[:n]])]
            ahead += [other for other in operations if other[: len(loops[0])] == loops[0]]
        while ahead:
            path = ahead.pop()
            if isinstance(path, tuple) and path not in found:
                found |= {path[:n] for n in range(1, len(path) + 1)}
                ahead += operations[path].inputs
        return found

    def _in_words(self, explanation: Explanation) -> Explanation:
        """Of the same mistakes on one line take one whose operand the source has a name for.

        But a mean in the place of the sum over what was broadcast is told where that enters, if
        what leads there from further up comes to other arrays, and is right in these.
        """
        named, alike = [], []
        in_part = len(self.difference.wrong) < len(self.difference.leaves)
        for first, others in explanation.with_alike():
            all_of_it = first, *others
            means = list(filter(self._is_mean, all_of_it)) if in_part else []
            same = means or [
                mistake
                for mistake in all_of_it
                if (mistake.kind, mistake.setting, mistake.taps[0].steps, len(mistake.taps))
                == (first.kind, first.setting, first.taps[0].steps, len(first.taps))
                and self.line(mistake.taps[0]) == self.line(first.taps[0])
            ]
            chosen = max(same, key=self._named)  # of equal ones the first
            named.append(chosen)
            alike.append(tuple(mistake for mistake in all_of_it if mistake != chosen))
        return explanation._replace(mistakes=tuple(named), alike=tuple(alike))

    def _named(self, mistake: Mistake) -> int:
        """Count what the source has a name for, or else an expression: what takes whose place."""
        tap, swap = mistake.taps[0], mistake.taps[0].swap
        names = [self.operand(tap)]
        if swap is not None:
            names += [self.value(swap.value)] * 2
            names.append(self.operand(tap._replace(edge=tap.edge._replace(operand=swap.operand))))
        simple = sum(name.strip("`").isidentifier() for name in names)
        return simple + sum(name.startswith("`") for name in names)

    def _cause(self, mistake: Mistake, reached: frozenset[int], evidence: str) -> Cause:
        tap = mistake.taps[0]
        operation = self.tapped.operations[tap.edge.path]
        where = self.line(tap)
        # that all these operations read
        of_array = mistake.kind in OF_ARRAYS or mistake.kind == FACTOR_TOO_MANY
        operands = list(dict.fromkeys(map(self.operand, mistake.taps[: 1 if of_array else None])))
        operand = " and ".join(operands)
        at = f" ({where})" if where else ""
        wrong = self.difference.names(reached)
        if mistake.kind == FACTOR:
            code, what = self._factor(mistake)
            added = self._line_at(tap.edge.path) is None and where is not None
            is_handed = "is handed" if added else f"`{operation.name}` hands"
            said = f"What {is_handed} down to {operand}{at} {what}"
            sentence = f"{self._of_entering(mistake, what) or said} in {wrong}."
        elif tap.others:
            code, operand = (
                Code.LOCAL_DERIVATIVE,
                " and ".join(
                    self.value(value) for x, _ in tap.others if (value := self._statistic(tap, x))
                ),
            )
            used = " and ".join(self.value(z) for _, z in tap.others)
            sentence = (
                f"The derivative of `{operation.name}`{at} uses {used} in place of {operand}, "
                f"as if all statistics were constants, in {wrong}."
            )
        elif tap.swap is not None:
            code = Code.LOCAL_DERIVATIVE
            sentence = f"{self._of_swap(mistake, tap.swap, operation, operand, at)} in {wrong}."
        else:
            code, what = Code.LOCAL_DERIVATIVE, SENTENCES[mistake.kind]
            of = f"The derivative of `{operation.name}` in"
            if of_array:
                call = self.tapped.operations.get(tap.edge.path[:-1])
                one = call is not None and call.of_source  # which others read the array beside
                of = f"What `{call.name}` hands" if call is not None and one else "What is handed"
                of += " down to"
            sentence = f"{of} {operand}{at} {what} in {wrong}."
        alone = ", and in no other array" if mistake.only else ""
        steps = "" if of_array else self._steps(mistake, several=len(operands) > 1)
        sentence = sentence[:-1] + f"{alone}{steps}."
        factor = mistake.factor if mistake.kind == FACTOR else None
        return Cause(
            code,
            sentence,
            evidence,
            where=where,
            operation=operation.name,
            operand=operand,
            factor=factor,
            kind=mistake.kind,
            formula="" if tap.swap is None else self._formula(tap, tap.swap),
        )

    def _of_entering(self, mistake: Mistake, what: str) -> str:
        """Say what is wrong where arrays enter the loss; empty of a mistake at one other place."""
        where: dict[Line | None, dict[str, None]] = {}
        for tap in mistake.taps:
            where.setdefault(self.line(tap), {})[self.operand(tap)] = None
        places = [
            " and ".join(operands) + (f" ({line})" if line else "")
            for line, operands in where.items()
        ]
        several = sum(map(len, where.values())) > 1
        if self._is_mean(mistake):
            along = dict.fromkeys(found[0] for tap in mistake.taps if (found := self._copies(tap)))
            axes = " and ".join(f"the {text}" for text in along)
            return (
                f"{' and '.join(places)} {'are' if several else 'is'} broadcast over {axes}, but "
                f"what is handed down to {'each' if several else 'it'} is the mean over them, not "
                "the sum,"
            )
        names = {self.tapped.operations[tap.edge.path].name for tap in mistake.taps}
        if len(where) > 1 or len(names) > 1:
            return f"What is handed down to {' and to '.join(places)} {what}"
        return ""

    def _is_mean(self, mistake: Mistake) -> bool:
        """Say whether what is broadcast gets a mean: of what enters the loss in several copies.

        A mean of two is a half, which many other mistakes are.
        """
        if mistake.kind != FACTOR or not all(tap.edge in self._entering for tap in mistake.taps):
            return False
        counts = {0 if found is None else found[1] for found in map(self._copies, mistake.taps)}
        count, *others = counts
        return not others and count > 2 and abs(mistake.factor * count - 1) <= FINE

    @functools.cached_property
    def _entering(self) -> set[Edge]:
        """List the edges by which the arrays that are wrong enter the loss."""
        numbers = (self.tapped.active[i] for i in self.difference.wrong)
        return set(self.flow.entering(self.tapped, numbers))

    def _copies(self, tap: Tap) -> tuple[str, int] | None:
        """Say over what an operand is broadcast, or was before, and how many copies that makes."""
        path, operand = tap.edge
        shapes = shapes_at(self.tapped.operations[path].eqn, operand)
        while shapes is not None and not is_broadcast(shapes):
            value = self.flow.operands[path][operand]
            if value is None or value.result < 0:
                return None
            path, operand = value.path, 0
            operation = self.tapped.operations[path]
            shapes = shapes_at(operation.eqn, operand) if operation.name in FORMS else None
        if shapes is None:
            return None
        places = shapes.params.get("broadcast_dimensions", range(len(shapes.x)))
        lengths = dict(zip(places, shapes.x, strict=True))
        axes = [axis for axis, n in enumerate(shapes.out) if lengths.get(axis, 1) != n]
        if any(lengths.get(axis, 1) > 1 for axis in axes):
            return None
        count = math.prod(shapes.out[axis] for axis in axes)
        if axes == [0]:
            return f"{count} rows", count
        named = "axis" if len(axes) == 1 else "axes"
        return f"{count} elements of {named} {', '.join(map(str, axes))}", count

    def _formula(self, tap: Tap, swap: Swap) -> str:
        names = {
            self.flow.operands[tap.edge.path][tap.edge.operand]: "operand",
            self.flow.results[tap.edge.path][0]: "result",
        }
        return swap.formula.format(names.get(swap.value, "another"))

    def _steps(self, mistake: Mistake, *, several: bool) -> str:
        """Say how often, unless several operands are named anyway, and at which step of a loop."""
        tap, every = mistake.taps[0], ""
        if len(mistake.taps) > 1 and not several:
            lines = {self.line(tap) for tap in mistake.taps}
            one, count = len(lines) == 1, len(mistake.taps)
            which = "times that the line is run" if one else "operations of this name"
            every = f", {'each' if one else 'at each'} of the {count} {which}"
        elif len(mistake.taps) == 1 and len(runs := self._runs(tap.edge.path)) > 1:
            number = runs.index(tap.edge.path) + 1
            every = f", at the {ordinal(number)} of the {len(runs)} runs of this line"
        if tap.steps == EVERY:
            return every
        return f"{every}, at the first step" if tap.steps == FIRST else f"{every}, at the last step"

    def _runs(self, path: tuple[int, ...]) -> list[tuple[int, ...]]:
        """List an operation in each run of its line, as in a loop that Python has unrolled.

        Nothing if JAX may have made several operations of it in one run: nothing else lies between.
        """
        of, runs, apart = self._stacks[path], list[tuple[int, ...]](), True
        if self.tapped.operations[path].looped or not of[-1][1]:
            return []
        for other, stacks in self._stacks.items():
            if stacks == of:
                if not apart:
                    return []
                runs.append(other)
                apart = False
            elif stacks[-1][1][-1:] != of[-1][1][-1:]:
                apart = True
        return runs

    @functools.cached_property
    def _stacks(self) -> dict[tuple[int, ...], tuple[tuple[str, tuple[Any, ...]], ...]]:
        """Say by which instructions each operation was made, and those that it is within."""
        operations = self.tapped.operations
        each = {path: (str(op.name), instructions(op.eqn)) for path, op in operations.items()}
        return {
            path: tuple(each[path[:n]] for n in range(1, len(path) + 1))
            for path in sorted(operations)
        }

    def _statistic(self, tap: Tap, x: Value) -> Value | None:
        return self.flow.resolved(x, tap.edge.path[:-1])

    def _of_swap(
        self, mistake: Mistake, swap: Swap, operation: Operation, operand: str, at: str
    ) -> str:
        """Say what has taken the place of what."""
        tap = mistake.taps[0]
        name = self.value(swap.value)
        if self._is_result_of_the_step_before(mistake.taps):
            (result,) = self.flow.results[tap.edge.path]
            name = f"{self.value(result)} of the step before" if result is not None else name
        z = written(swap.formula, name)
        if swap.updated:
            swaps = [tap.swap for tap in mistake.taps if tap.swap is not None]
            names = dict.fromkeys(self.value(swap.value) for swap in swaps)
            less = f"less {mistake.setting:.4g} times its gradient, as if updated before,"
            updated = " and ".join(f"{name} {less}" for name in names)
            return f"The derivative of `{operation.name}` in {operand}{at} uses {updated}"
        derivative = f"the derivative of `{operation.name}` in {operand}{at}"
        if tap.kind == FACTOR_TOO_MANY:
            return f"What is handed down to {operand}{at} is multiplied by {z}, once too often,"
        if tap.kind == ANOTHER_FACTOR:
            return f"T{derivative[1:]} is replaced by {z}"
        if swap.operand == tap.edge.operand:
            return f"T{derivative[1:]} is taken at {z}, not at {operand},"
        other = self.operand(tap._replace(edge=tap.edge._replace(operand=swap.operand)))
        if self._is_of_the_step_before(mistake.taps):
            other = f"{z} of the step before"
        return f"In place of {other}, {derivative} uses {z}"

    def value(self, value: Value) -> str:
        """Name an array as the source does, or else say what has made it."""
        if value.result < 0:
            number = -1 - value.result
            if value.path:
                return self._given(value.path, number)
            count = len(self.tapped.inputs)
            return f"`{self._argument(number)}`" if number < count else "a constant of the loss"
        operation = self.tapped.operations[value.path]
        if name := self._assigned(value):
            return f"`{name}`"
        if operation.name in FORMS and (source := self.flow.operands[value.path][0]) is not None:
            return self.value(source)
        if text := self._written(value):
            return f"`{text}`"
        return f"the result of `{operation.name}` ({self._line_at(value.path)})"

    def _given(self, path: tuple[int, ...], number: int) -> str:
        """Name what a loop is given: the same at each step, or what the step before has left."""
        eqn, count = self.tapped.operations[path].eqn, len(self.flow.operands[path])
        if not _is_loop(self.tapped.operations[path]) or number >= count:
            return "a constant of the loss"
        (constants, carried), outer = scan_counts(eqn.params), self.flow.operands[path][number]
        if number < constants:
            return "a number" if outer is None else self.value(outer)
        if number < constants + carried:
            jaxpr, known = self.flow.scopes[path]
            left = jaxpr.outvars[number - constants]
            value = None if isinstance(left, core.Literal) else known.get(left)
            if value is not None and value.result >= 0:
                return f"{self.value(value)} of the step before"
        return "what the loop is given"

    def _is_of_the_step_before(self, taps: Sequence[Tap]) -> bool:
        """Say whether arrays take the place of those that they have at the step before."""
        swaps = [tap.swap for tap in taps if tap.swap is not None]
        belong = [
            self.flow.operands[tap.edge.path][swap.operand]
            for tap, swap in zip(taps, swaps, strict=True)
        ]
        return len(swaps) > 1 and belong[1:] == [swap.value for swap in swaps[:-1]]

    def _is_result_of_the_step_before(self, taps: Sequence[Tap]) -> bool:
        """Say whether what takes the place of a derivative is made of the result before."""
        swaps = [tap.swap for tap in taps if tap.swap is not None]
        made = [self.flow.results[tap.edge.path] for tap in taps]
        return len(swaps) > 1 and made[:-1] == [[swap.value] for swap in swaps[1:]]

    def _assigned(self, value: Value) -> str:
        """Name the variable that an array is assigned to, outside of the function that made it."""
        calls = self._calls.get(value, ())
        expressions = [self._expression(path) for path in (*calls, value.path)]
        of = len(self.tapped.operations[value.path].eqn.outvars)
        names = (e.assigned(value.result, of) for e in expressions if e is not None)
        return next(filter(None, names), "")

    def _written(self, value: Value) -> str:
        """Quote the expression whose value an array is."""
        if len(self.tapped.operations[value.path].eqn.outvars) > 1:
            return ""
        calls = self._calls.get(value, ())
        expressions = map(self._expression, (*calls, value.path))
        return next((text for e in expressions if e is not None and (text := e.text)), "")

    @functools.cached_property
    def _calls(self) -> dict[Value, list[tuple[int, ...]]]:
        """List the calls that an array is the result of, the outermost first."""
        found: dict[Value, list[tuple[int, ...]]] = {}
        for path, results in sorted(self.flow.results.items()):
            if len(results) == 1 and results[0] is not None and results[0].path != path:
                found.setdefault(results[0], []).append(path)
        return found

    def _expression(self, path: tuple[int, ...]) -> Expression | None:
        """Find the expression whose value an operation gives: the last of those it consists of."""
        found, after = self._part_of(path), (*path[:-1], path[-1] + 1)
        is_last = after not in self.tapped.operations or self._part_of(after) != found
        return found if is_last else None

    def _part_of(self, path: tuple[int, ...]) -> Expression | None:
        at = self._line_at(path)
        return None if at is None else expression_of(self.tapped.operations[path].eqn, at)

    def _factor(self, mistake: Mistake) -> tuple[Code, str]:
        factor = mistake.factor
        if factor == 0:
            return Code.PATH_MISSING, "is missing"
        if factor == -1:
            return Code.PATH_SCALED, "has the wrong sign"
        simple = {2.0: "2", 0.5: "1/2"}  # whatever else they are
        name = simple.get(factor) or self._factors.get(mistake.setting) or in_words(factor)
        return Code.PATH_SCALED, f"is multiplied by {name}"

    @functools.cached_property
    def _factors(self) -> dict[float, str]:
        """Name factors by their settings, which were rounded so when they were chosen."""
        return {factor - 1: text for factor, text in named_factors(self.tapped).items()}

    def _others(self, explanation: Explanation) -> list[str]:
        """Name for each mistake the other places at which it would give the same gradient."""
        own = [self.line(tap) for mistake in explanation.mistakes for tap in mistake.taps]
        found = []
        for _, others in explanation.with_alike():
            lines = [self.line(mistake.taps[0]) for mistake in others]
            places = list(
                dict.fromkeys(str(at) for at in lines if at is not None and at not in own)
            )
            shown = "; ".join(places[:SHOWN])
            more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
            found.append(f"{ELSEWHERE}{shown}{more} would give the same" if places else "")
        return found

    def line(self, tap: Tap) -> Line | None:
        """Find the line of the user's code that an operation comes from, or else its operand."""
        return self._line_at(self._place(tap.edge))

    def _place(self, edge: Edge) -> tuple[int, ...]:
        """Give the operation of an edge; if a check has added it to the loss, the one before it.

        Whoever checks a layer has written the layer, and not its product with d_out.
        """
        if self._line_at(edge.path) is None:
            ahead = [self.flow.operands[edge.path][edge.operand]]
            while ahead:
                value = ahead.pop(0)
                if value is not None and value.result >= 0:
                    if self._line_at(value.path) is not None:
                        return value.path
                    ahead += self.flow.operands[value.path]
        return edge.path

    def _line_at(self, path: tuple[int, ...]) -> Line | None:
        """Give the line of an operation, or else that of the call that it is within."""
        name = self.tapped.operations[path].name
        if isinstance(name, Function):
            return _line(name.call.file, name.call.line)
        ways = (path[:depth] for depth in range(len(path), 0, -1))
        lines = (line_of(self.tapped.operations[way].eqn) for way in ways)
        return next((found for found in lines if found is not None), None)

    def operand(self, tap: Tap) -> str:
        """Name an operand as the source does: an argument, or what is assigned where it is made."""
        value = self.flow.operands[tap.edge.path][tap.edge.operand]
        if tap.source is not None:
            at = () if tap.skips_calls else tap.edge.path[:-1]
            value = self.flow.resolved(tap.source, at)
        name = "" if value is None else self.value(value)
        if name.startswith("`"):
            return name
        count = len(self.tapped.operations[tap.edge.path].eqn.invars)
        return "its operand" if count == 1 else f"operand {tap.edge.operand + 1} of {count}"

    def _argument(self, number: int) -> str:
        """Name an input of the loss: the argument, and where in it."""
        i, path = self.tapped.where[number]
        return self.difference.names_in_loss[i] + path


def _is_loop(operation: Operation) -> bool:
    return operation.eqn.primitive.name == "scan"


class Located(NamedTuple):
    """What the operations of a loss say of a difference.

    Attributes:
        causes: the operations whose backward is wrong; none if that explains nothing.
        doubt: what would explain the difference, but says no more than chance; empty if nothing.
    """

    causes: list[Cause]
    doubt: str = ""


def located(difference: Difference, *, alone: bool = False) -> Located:
    """Name the operations of the loss whose backward is wrong.

    Args:
        difference: a gradient beside JAX's.
        alone: whether one operation has to explain it, by the bounds of the right gradient.
    """
    finite = all(np.isfinite(leaf.got).all() for leaf in difference.leaves)
    if not finite:
        return Located([])
    sought = "the operation that is differentiated wrongly"
    if difference.limit.is_over:
        difference.limit.leave_out(sought)
        return Located([])
    try:
        search = Search(difference)
        words = Words(search)
        found = search.run(alone=alone)
        if left := search.tries.left:
            difference.limit.leave_out(f"{counted(left, 'mistake')} at single operations")
        causes = [cause for explanation in found for cause in words.causes(explanation)]
        doubtful = search.doubtful
        return Located(causes, "" if causes or doubtful is None else words.doubt(doubtful))
    except Exception as error:  # of any operation of anybody's loss
        difference.limit.fail(sought, error)
        return Located([])


def line_of(eqn: Any) -> Line | None:
    """Find the innermost line of code outside of JAX and of this package that made an operation."""
    frame = user_frame(eqn)
    return None if frame is None else _line(frame.file_name, frame.line_num)


def _line(file: str, number: int) -> Line:
    return Line(file, number, linecache.getline(file, number).strip())
