"""The codes of the diagnosis: what each says is wrong, an example of it, and its verdict.

They stand in the order in which causes are listed, the most specific first. CODES.md shows them as
a table.
"""

import enum
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import NamedTuple, Self

from reference.compare import Verdict


class Code(enum.StrEnum):
    """A likely bug.

    Attributes:
        description: a sentence that says what is wrong.
        example: code with this bug.
        verdict: the verdict that it leads to.

    >>> Code("sign").description
    'The gradient has the wrong sign.'
    >>> Code("sign").verdict, Code("stale").verdict
    (<Verdict.MISMATCH: 'mismatch'>, <Verdict.STALE: 'stale'>)
    """

    description: str
    example: str
    verdict: Verdict

    def __new__(
        cls,
        value: str,
        description: str = "",
        example: str = "",
        verdict: Verdict = Verdict.MISMATCH,
    ) -> Self:
        """Make a member from its value and its attributes."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.description, member.example, member.verdict = description, example, verdict
        return member

    @property
    def inferred(self) -> bool:
        """Whether it is a hypothesis that fits, rather than something that was observed."""
        undecided = {Code.UNKNOWN, Code.FEW_ROUNDINGS}
        return self.verdict == Verdict.MISMATCH and self not in undecided

    # What keeps a gradient from being compared, or holds whatever its values are

    MUTATED_INPUT = (
        "mutated_input",
        "The function modified its arguments.",
        "params[0] -= rate * grad",
        Verdict.MUTATED_INPUT,
    )
    NONDETERMINISTIC = (
        "nondeterministic",
        "A second call with the same arguments returned a different result.",
        "mask = np.random.random(a.shape) < 0.5",
        Verdict.NONDETERMINISTIC,
    )
    ALIASED_OUTPUT = (
        "aliased_output",
        "A returned array shares memory with an argument, or a later call writes into it.",
        "return buffer  # which each call writes to",
        Verdict.ALIASED_OUTPUT,
    )
    NON_FINITE = (
        "non_finite",
        "The result has infinities or NaNs where autodiff's is finite.",
        "p = np.exp(z) / np.exp(z).sum()",
        Verdict.NON_FINITE,
    )
    WRONG_STRUCTURE = (
        "wrong_structure",
        "The gradient's structure differs from that of the arguments it belongs to.",
        "return d_W for parameters (W, b)",
        Verdict.WRONG_STRUCTURE,
    )
    WRONG_SHAPE = (
        "wrong_shape",
        "An array of the gradient does not have the shape of its argument.",
        "d_b = d_z.sum(axis=0, keepdims=True)",
        Verdict.WRONG_SHAPE,
    )
    WRONG_DTYPE = (
        "wrong_dtype",
        "An array does not have the dtype of its argument.",
        "d_W = np.zeros(W.shape)  # float64 for float32",
        Verdict.WRONG_DTYPE,
    )
    STALE = (
        "stale",
        "The result is the gradient at the arguments of an earlier call.",
        "return self.cached_gradient",
        Verdict.STALE,
    )
    WRONG_FORWARD = (
        "wrong_forward",
        "The forward pass does not return what its JAX twin returns.",
        "var = x.var(axis=0, ddof=1)  # the twin divides by N",
        Verdict.WRONG_FORWARD,
    )

    # What a comparison says of a gradient that is not wrong, or of which nothing is known

    EXACT_TIE = (
        "exact_tie",
        "At an exact tie the gradient is another subgradient than JAX's, which is as right.",
        "d_x = d_y * (x >= 0)  # JAX's ReLU has 0 at 0",
        Verdict.MATCH,
    )
    LOST_DIGITS = (
        "lost_digits",
        "The derivative is right, but its formula loses digits that JAX's keeps.",
        "d_z = sigmoid(z) - y  # for a loss written with log_sigmoid",
        Verdict.LOSES_DIGITS,
    )
    BLIND = (
        "blind",
        "Rounding strays as far as the gradient itself, so that no check could tell.",
        "for _ in range(10_000): x = 4 * x * (1 - x)",
        Verdict.BLIND,
    )
    NOT_COMPARABLE = (
        "not_comparable",
        "The gradient is not finite in this precision, JAX's or by rounding.",
        "loss = np.log(np.exp(1000 * x).sum())",
        Verdict.NOT_COMPARABLE,
    )

    # Faults of the MLP: dense layers, ReLU, softmax cross-entropy and weight decay

    RELU_MASK_MISSING = (
        "relu_mask_missing",
        "The error passes back through a ReLU as if it were not there.",
        "d_z = d_a",
    )
    RELU_MASK_INVERTED = (
        "relu_mask_inverted",
        "The error passes back only where the ReLU let nothing through.",
        "d_z = d_a * (z <= 0)",
    )
    RELU_MASK_INCLUDES_ZERO = (
        "relu_mask_includes_zero",
        "The error passes back where the pre-activation is exactly 0.",
        "d_z = d_a * (z >= 0)",
    )
    RELU_MASK_WRONG_LAYER = (
        "relu_mask_wrong_layer",
        "The error is masked by another layer's ReLU.",
        "d_z[l] = d_a[l] * (z[l + 1] > 0)",
    )
    RELU_APPLIED_TO_GRADIENT = (
        "relu_applied_to_gradient",
        "The ReLU itself is applied to the error instead of its derivative.",
        "d_z = np.maximum(d_a, 0)",
    )
    DELTA_TIMES_ACTIVATION = (
        "delta_times_activation",
        "The error is multiplied by the ReLU's output instead of its derivative.",
        "d_z = d_a * np.maximum(z, 0)",
    )
    SIGMOID_DERIVATIVE_ON_RELU = (
        "sigmoid_derivative_on_relu",
        "A ReLU is differentiated as if it were a sigmoid.",
        "d_z = d_a * a * (1 - a)",
    )
    UPSTREAM_GRADIENT_DROPPED = (
        "upstream_gradient_dropped",
        "The ReLU's derivative is not multiplied by the error from above.",
        "d_z = (z > 0).astype(z.dtype)",
    )
    UNMASKED_ERROR_PROPAGATED = (
        "unmasked_error_propagated",
        "A layer's own gradient uses the masked error, but the unmasked error is passed down.",
        "d_a_below = d_a @ W.T",
    )
    LABEL_SHIFTED = (
        "label_shifted",
        "The labels are off by one class.",
        "target = np.eye(K)[y - 1]",
    )
    LABEL_TERM_MISSING = (
        "label_term_missing",
        "The labels are not subtracted from the probabilities.",
        "d_logits = p / N",
    )
    SOFTMAX_WRONG_AXIS = (
        "softmax_wrong_axis",
        "The backward pass does not normalise the softmax over the classes of each row.",
        "p = e / e.sum(axis=0)",
    )
    SOFTMAX_JACOBIAN_DIAGONAL_ONLY = (
        "softmax_jacobian_diagonal_only",
        "Only the diagonal of the softmax's Jacobian is used.",
        "d_logits = -y / p * p * (1 - p) / N",
    )
    SOFTMAX_DERIVATIVE_ON_TOP = (
        "softmax_derivative_on_top",
        "p - y, which already contains the softmax's derivative, is multiplied by it again.",
        "d_logits = (p - y) * p * (1 - p) / N",
    )
    SIGN_OF_DELTA = (
        "sign_of_delta",
        "The error at the logits has the wrong sign; the gradient of the penalty is right.",
        "d_logits = (y - p) / N",
    )
    SUM_NOT_MEAN = (
        "sum_not_mean",
        "The gradient of the data term is a sum over the rows, but the loss is a mean.",
        "d_logits = p - y",
    )
    ONE_OVER_N_TWICE = (
        "one_over_n_twice",
        "The gradient of the data term is divided by the number of rows twice.",
        "d_logits = (p - y) / N; d_W = a.T @ d_z / N",
    )
    MEAN_OVER_CLASSES_TOO = (
        "mean_over_classes_too",
        "The gradient of the data term is divided by the number of classes as well.",
        "d_logits = (p - y) / y.size",
    )
    PENALTY_MISSING = (
        "penalty_missing",
        "The weight decay is missing from the gradient.",
        "d_W = a.T @ d_z",
    )
    PENALTY_WITHOUT_FACTOR_2 = (
        "penalty_without_factor_2",
        "The gradient of weight_decay * ||W||^2 lacks its factor of 2.",
        "d_W += weight_decay * W",
    )
    PENALTY_ON_BIAS = (
        "penalty_on_bias",
        "The weight decay is applied to the biases as well.",
        "d_b += 2 * weight_decay * b",
    )
    PENALTY_PER_ROW = (
        "penalty_per_row",
        "The weight decay is added once per row instead of once per batch.",
        "for row in batch: d_W += np.outer(a, d_z) / N + 2 * weight_decay * W",
    )
    DECAY_SUBTRACTED = (
        "decay_subtracted",
        "The weight decay is subtracted from the gradient instead of added to it.",
        "d_W -= 2 * weight_decay * W",
    )
    INPUT_AND_WEIGHT_CONFUSED = (
        "input_and_weight_confused",
        "A layer's gradient uses the wrong input, or its error passes through the wrong weight.",
        "d_W[l] = a[l].T @ d_z[l]  # a[l - 1] is the input",
    )
    PRE_ACTIVATION_AS_LAYER_INPUT = (
        "pre_activation_as_layer_input",
        "A layer's gradient uses the pre-activation below instead of the activation.",
        "d_W[l] = z[l - 1].T @ d_z[l]",
    )
    WEIGHT_TRANSPOSED_IN_BACKWARD = (
        "weight_transposed_in_backward",
        "The error is multiplied by W instead of its transpose.",
        "d_a = d_z @ W",
    )
    WEIGHT_UPDATED_BEFORE_BACKWARD = (
        "weight_updated_before_backward",
        "The error is passed back through weights that have already been updated.",
        "W -= rate * d_W; d_a = d_z @ W.T",
    )
    BIAS_LAST_ROW_ONLY = (
        "bias_last_row_only",
        "The gradient of the biases is that of the last row alone.",
        "d_b = d_z[-1]",
    )
    BIAS_GRADIENT_AVERAGED = (
        "bias_gradient_averaged",
        "The gradient of the biases is divided by the number of rows once too often.",
        "d_b = d_z.mean(axis=0)",
    )
    BIAS_GRADIENT_SUMMED_OVER_UNITS = (
        "bias_gradient_summed_over_units",
        "The gradient of the biases is summed over the units too: one number per layer.",
        "d_b = d_z.sum()",
    )
    BIAS_GRADIENT_FROM_UNMASKED_DELTA = (
        "bias_gradient_from_unmasked_delta",
        "The gradient of the hidden biases uses the error before the ReLU's mask.",
        "d_b = d_a.sum(axis=0)",
    )

    # Mistakes at one operation of any loss

    PATH_MISSING = (
        "path_missing",
        "A path of the backward pass is missing.",
        "d_x = (d_n - n * (d_n * n).mean()) / s  # without the path through the mean",
    )
    PATH_SCALED = (
        "path_scaled",
        "What is handed down a path of the backward pass is multiplied by a wrong number.",
        "d_q = d_s @ k  # without 1 / sqrt(d)",
    )
    LOCAL_DERIVATIVE = (
        "local_derivative",
        "One operation is differentiated wrongly.",
        "d_z = d_a  # without tanh'",
    )

    # Hypotheses that need no knowledge of the model

    CUSTOM_RULE = (
        "custom_rule",
        "The gradient is that of a custom rule in the loss, not that of its function's body.",
        "square.defvjp(lambda x: (x * x, x), lambda x, d_out: (3 * x * d_out,))",
    )
    DIRECTION_UNUSED = (
        "direction_unused",
        "The result does not depend on d_out, or on the tangents, or on a part of them.",
        "return (x > 0) * 1.0  # times d_out",
    )
    ZERO = ("zero", "The gradient is 0 everywhere.", "d_W = np.zeros_like(W)")
    LAST_ROW_ONLY = (
        "last_row_only",
        "The gradient is that of the batch's last row alone.",
        "for x in X: d_W = np.outer(x, d_z)",
    )
    FIRST_ROW_ONLY = (
        "first_row_only",
        "The gradient is that of the batch's first row alone.",
        "d_W = np.outer(X[0], d_z[0])",
    )
    SIGN = ("sign", "The gradient has the wrong sign.", "return -d_W")
    LEAVES_SWAPPED = (
        "leaves_swapped",
        "An array holds the gradient of another parameter of the same shape.",
        "return (d_key, d_query) for (query, key)",
    )
    TRANSPOSED = (
        "transposed",
        "The gradient is transposed, or its elements are in the order of the transpose.",
        "d_W = d_z.T @ a",
    )
    SCALED = ("scaled", "The gradient is a multiple of the right one.", "d_W = 2 * a.T @ d_z")
    DIFFERENCE_PROPORTIONAL_TO_PARAMETER = (
        "difference_proportional_to_parameter",
        "The gradient is off by a multiple of the parameter, as with a wrong weight decay.",
        "d_W = a.T @ d_z  # no weight decay",
    )
    CONSTANT_OFFSET = (
        "constant_offset",
        "The gradient is off by the same number everywhere.",
        "d_b = d_z.sum(axis=0) + 1e-3",
    )
    PERMUTED = (
        "permuted",
        "The rows or columns of the gradient are in a different order.",
        "d_W = a[:, ::-1].T @ d_z",
    )
    SLICES_SCALED = (
        "slices_scaled",
        "Some rows or columns of the gradient are multiples of the right ones.",
        "d_z[:half] /= 2 * half  # of rows of which some do not count",
    )
    NOT_ZERO = (
        "not_zero",
        "The gradient is not 0 where the right one is, as if a mask had been forgotten.",
        "d_z = p - y  # without d_z[ignored] = 0",
    )
    LAYERS_ABOVE_ONLY = (
        "layers_above_only",
        "The layers nearer the output are right and those below them are wrong.",
        "d_a = d_z @ W.T  # a bug in this line",
    )
    COARSER_PRECISION = (
        "coarser_precision",
        "The errors look like the rounding of a coarser precision, and not like a wrong formula.",
        "d_W = (a.T.astype(bfloat16) @ d_z.astype(bfloat16)).astype(float32)",
    )
    FEW_ROUNDINGS = (
        "few_roundings",
        "The errors are no larger than a few roundings: lost digits, or a small mistake.",
        "check_gradient(my_gradient(z, y), loss, z, y)  # the result, and not the function",
    )
    UNKNOWN = ("unknown", "No hypothesis explains the difference.", "")


class Line(NamedTuple):
    """A line of the source of a loss."""

    file: str
    number: int
    text: str

    def __str__(self) -> str:
        """Write it as `file:number` and what it says."""
        return f"{Path(self.file).name}:{self.number}, `{self.text}`"


class Mark(enum.StrEnum):
    """What there is to say of the backward of a line of the loss."""

    WRONG = "wrong"
    DOWNSTREAM = "downstream"  # what it is handed is wrong
    RIGHT = "right"


@dataclass(frozen=True)
class Cause:
    """A likely bug in one gradient.

    Attributes:
        code: what kind of bug.
        sentence: what is wrong.
        evidence: what speaks for it.
        where: the line of the loss whose backward is wrong, if one was found.
        operation: the operation of that line.
        operand: what it hands a wrong derivative down to, in the words of the source.
        factor: what that is multiplied by, where a number is wrong: 0 if it is missing.
        kind: "factor", or what is handed down instead.
        formula: what takes the place of an array or of a derivative, made of the operation's
            "operand", of its "result" or of "another" array: "result * (1 - result)".
        marks: the lines of the loss, if the one that is wrong was found.
    """

    code: Code
    sentence: str
    evidence: str
    _: KW_ONLY
    where: Line | None = None
    operation: str = ""
    operand: str = ""
    factor: float | None = None
    kind: str = ""
    formula: str = ""
    marks: tuple[tuple[Line, Mark], ...] = ()

    @classmethod
    def observed(cls, code: Code, evidence: str) -> Self:
        """Make the cause of what needed no hypothesis."""
        return cls(code, code.description, evidence)
