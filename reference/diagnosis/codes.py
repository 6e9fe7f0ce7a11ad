"""The likely bugs by name: their codes, what each says, and an example of each.

They stand in the order in which causes are listed: what is most specific first.
"""

import enum
from typing import Self


class Code(enum.StrEnum):
    """A likely bug, with a sentence that describes it and an example of code that has it.

    >>> Code("sign").description
    'The gradient has the wrong sign.'
    """

    description: str
    example: str

    def __new__(cls, value: str, description: str = "", example: str = "") -> Self:
        """Make a member of its code, its description and its example."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        member.example = example
        return member

    # Found before any comparison

    MUTATED_INPUT = (
        "mutated_input",
        "The callable changed its arguments.",
        "params[0] -= rate * grad",
    )
    NONDETERMINISTIC = (
        "nondeterministic",
        "A second call with the same arguments gave another result.",
        "mask = np.random.random(a.shape) < 0.5",
    )
    ALIASED_OUTPUT = (
        "aliased_output",
        "The same memory was returned twice, or is that of an argument.",
        "return (buffer, buffer)",
    )
    NON_FINITE = (
        "non_finite",
        "The result has infinities or NaNs where autodiff's is finite.",
        "p = np.exp(z) / np.exp(z).sum()",
    )
    WRONG_STRUCTURE = (
        "wrong_structure",
        "The result is another tree of arrays than the arguments it is the gradient for.",
        "return d_W for parameters (W, b)",
    )
    WRONG_SHAPE = (
        "wrong_shape",
        "An array of the result has another shape than the argument it is the gradient for.",
        "d_b = d_z.sum(axis=0, keepdims=True)",
    )
    WRONG_DTYPE = (
        "wrong_dtype",
        "An array of the result has another dtype than the argument it is the gradient for.",
        "d_W = np.zeros(W.shape)  # float64 for float32",
    )
    STALE = (
        "stale",
        "The result is the gradient at the arguments of the call before.",
        "return self.cached_gradient",
    )

    # The dictionary: networks of dense layers, ReLU, softmax cross-entropy and weight decay

    RELU_MASK_MISSING = (
        "relu_mask_missing",
        "The error goes back through a ReLU as if there were none.",
        "d_z = d_a",
    )
    RELU_MASK_INVERTED = (
        "relu_mask_inverted",
        "The error goes back where the ReLU let nothing through, and only there.",
        "d_z = d_a * (z <= 0)",
    )
    RELU_MASK_INCLUDES_ZERO = (
        "relu_mask_includes_zero",
        "The error goes back where the pre-activation is exactly 0.",
        "d_z = d_a * (z >= 0)",
    )
    RELU_MASK_WRONG_LAYER = (
        "relu_mask_wrong_layer",
        "The error is masked by where another layer's ReLU is active.",
        "d_z[l] = d_a[l] * (z[l + 1] > 0)",
    )
    RELU_APPLIED_TO_GRADIENT = (
        "relu_applied_to_gradient",
        "The ReLU is applied to the error, in place of its derivative.",
        "d_z = np.maximum(d_a, 0)",
    )
    DELTA_TIMES_ACTIVATION = (
        "delta_times_activation",
        "The error is multiplied by the ReLU's value, in place of its derivative.",
        "d_z = d_a * np.maximum(z, 0)",
    )
    SIGMOID_DERIVATIVE_ON_RELU = (
        "sigmoid_derivative_on_relu",
        "The error goes back through a ReLU by the derivative of the sigmoid.",
        "d_z = d_a * a * (1 - a)",
    )
    UPSTREAM_GRADIENT_DROPPED = (
        "upstream_gradient_dropped",
        "The ReLU's derivative stands alone: the error from above is not multiplied in.",
        "d_z = (z > 0).astype(z.dtype)",
    )
    UNMASKED_ERROR_PROPAGATED = (
        "unmasked_error_propagated",
        "The masked error makes a layer's gradient, but the unmasked one goes on down.",
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
        "The softmax of the backward pass is not over the classes of each row.",
        "p = e / e.sum(axis=0)",
    )
    SOFTMAX_JACOBIAN_DIAGONAL_ONLY = (
        "softmax_jacobian_diagonal_only",
        "Of the derivative of the softmax only the diagonal is taken.",
        "d_logits = -y / p * p * (1 - p) / N",
    )
    SOFTMAX_DERIVATIVE_ON_TOP = (
        "softmax_derivative_on_top",
        "The derivative of the softmax is multiplied onto p - y, which already holds it.",
        "d_logits = (p - y) * p * (1 - p) / N",
    )
    SIGN_OF_DELTA = (
        "sign_of_delta",
        "The error at the output has the wrong sign; the penalty has the right one.",
        "d_logits = (y - p) / N",
    )
    SUM_NOT_MEAN = (
        "sum_not_mean",
        "The gradient of the data is summed over the rows where the loss takes their mean.",
        "d_logits = p - y",
    )
    ONE_OVER_N_TWICE = (
        "one_over_n_twice",
        "The gradient of the data is divided by the number of rows twice.",
        "d_logits = (p - y) / N; d_W = a.T @ d_z / N",
    )
    MEAN_OVER_CLASSES_TOO = (
        "mean_over_classes_too",
        "The gradient of the data is divided by the number of classes too.",
        "d_logits = (p - y) / y.size",
    )
    PENALTY_MISSING = (
        "penalty_missing",
        "The weight decay is missing from the gradient.",
        "d_W = a.T @ d_z",
    )
    PENALTY_WITHOUT_FACTOR_2 = (
        "penalty_without_factor_2",
        "The gradient of weight_decay * ||W||^2 lacks its factor 2.",
        "d_W += weight_decay * W",
    )
    PENALTY_ON_BIAS = (
        "penalty_on_bias",
        "The weight decay is applied to the biases too.",
        "d_b += 2 * weight_decay * b",
    )
    PENALTY_PER_ROW = (
        "penalty_per_row",
        "The weight decay is added once per row, not once for the batch.",
        "for row in batch: d_W += np.outer(a, d_z) / N + 2 * weight_decay * W",
    )
    DECAY_SUBTRACTED = (
        "decay_subtracted",
        "The weight decay is subtracted from the gradient.",
        "d_W -= 2 * weight_decay * W",
    )
    INPUT_AND_WEIGHT_CONFUSED = (
        "input_and_weight_confused",
        "A layer's gradient uses the wrong input, or the error the wrong layer's weight.",
        "d_W[l] = a[l].T @ d_z[l]  # a[l - 1] is the input",
    )
    PRE_ACTIVATION_AS_LAYER_INPUT = (
        "pre_activation_as_layer_input",
        "A layer's gradient uses what went into the ReLU below, not what came out.",
        "d_W[l] = z[l - 1].T @ d_z[l]",
    )
    WEIGHT_TRANSPOSED_IN_BACKWARD = (
        "weight_transposed_in_backward",
        "The error goes back through W where it should through its transpose.",
        "d_a = d_z @ W",
    )
    WEIGHT_UPDATED_BEFORE_BACKWARD = (
        "weight_updated_before_backward",
        "The error goes back through weights that were already updated.",
        "W -= rate * d_W; d_a = d_z @ W.T",
    )
    BIAS_LAST_ROW_ONLY = (
        "bias_last_row_only",
        "The gradient of the biases is that of the last row alone.",
        "d_b = d_z[-1]",
    )
    BIAS_GRADIENT_AVERAGED = (
        "bias_gradient_averaged",
        "The gradient of the biases is divided by the number of rows once more.",
        "d_b = d_z.mean(axis=0)",
    )
    BIAS_GRADIENT_SUMMED_OVER_UNITS = (
        "bias_gradient_summed_over_units",
        "The gradient of the biases is one number per layer, summed over the units too.",
        "d_b = d_z.sum()",
    )
    BIAS_GRADIENT_FROM_UNMASKED_DELTA = (
        "bias_gradient_from_unmasked_delta",
        "The gradient of the hidden biases is made from the error before the ReLU's mask.",
        "d_b = d_a.sum(axis=0)",
    )

    # Hypotheses that need no knowledge of the loss

    ZERO = ("zero", "There is no gradient: it is 0 everywhere.", "d_W = np.zeros_like(W)")
    LAST_ROW_ONLY = (
        "last_row_only",
        "The gradient is that of the last row of the batch.",
        "for x in X: d_W = np.outer(x, d_z)",
    )
    FIRST_ROW_ONLY = (
        "first_row_only",
        "The gradient is that of the first row of the batch.",
        "d_W = np.outer(X[0], d_z[0])",
    )
    SIGN = ("sign", "The gradient has the wrong sign.", "return -d_W")
    LEAVES_SWAPPED = (
        "leaves_swapped",
        "An array holds the gradient of another parameter of its shape.",
        "return (d_key, d_query) for (query, key)",
    )
    TRANSPOSED = (
        "transposed",
        "The gradient is transposed, or its elements run in the order of its transpose.",
        "d_W = d_z.T @ a",
    )
    SCALED = ("scaled", "The gradient is a multiple of the right one.", "d_W = 2 * a.T @ d_z")
    DIFFERENCE_PROPORTIONAL_TO_PARAMETER = (
        "difference_proportional_to_parameter",
        "The gradient is off by a multiple of the parameter, as by a wrong weight decay.",
        "d_W = a.T @ d_z  # no weight decay",
    )
    CONSTANT_OFFSET = (
        "constant_offset",
        "The gradient is off by the same number everywhere.",
        "d_b = d_z.sum(axis=0) + 1e-3",
    )
    PERMUTED = (
        "permuted",
        "The rows or columns of the gradient are in another order.",
        "d_W = a[:, ::-1].T @ d_z",
    )
    LAYERS_ABOVE_ONLY = (
        "layers_above_only",
        "The layers nearer the output are right and those below are wrong: see the step between.",
        "d_a = d_z @ W.T  # a bug in this line",
    )
    UNKNOWN = ("unknown", "No hypothesis explains the difference.", "")
