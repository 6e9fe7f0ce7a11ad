"""The derivatives beyond the gradient with one planted fault each: the mistakes that people make.

All is written out plainly and shares no code with manual_nn; without a fault it is right. Axes:
N rows in the batch, D inputs, K classes, L layers.
"""

from typing import Any, Literal

import numpy as np

from manual_nn import Dense
from manual_nn.layers.dense import Params
from reference.arrays import Array

NORMS, ROWS, CLIPPED = "per_example_grad_norms, squared", "per_example_grads", "clipped_grad"
FISHER, DIAGONAL = "fisher_diagonal", "ggn_diagonal"

# Each fault with what it makes wrong; the rest remains right.
FAULTS: dict[str, set[str]] = {
    "row gradients divided by N": {ROWS},
    "row gradients with the penalty": {ROWS},
    "row bias gradients summed": {ROWS},
    "norm without the bias": {NORMS},
    "norms summed over the layers, not squares": {NORMS},
    "norm of the row's part of the mean": {NORMS},
    "norm of the weights of the last layer alone": {NORMS},
    "each layer clipped by itself": {CLIPPED},
    "the mean clipped, not the rows": {CLIPPED},
    "clipped sum not divided by N": {CLIPPED},
    "rows scaled up to max_norm": {CLIPPED},
    "rows above max_norm dropped": {CLIPPED},
    "clipped mean with the penalty": {CLIPPED},
    "jvp without the penalty": {"jvp, d_loss"},
    "jvp with half the penalty": {"jvp, d_loss"},
    "jvp not divided by N": {"jvp, d_loss"},
    "R_b missing": {"jvp, d_loss", "hvp", "ggnvp", "hessian", "ggn"},
    "a R_W missing": {"jvp, d_loss", "hvp", "ggnvp", "hessian", "ggn"},
    "R_a W missing": {"jvp, d_loss", "hvp", "ggnvp", "hessian", "ggn"},
    "R_a without mask": {"jvp, d_loss", "hvp", "ggnvp", "hessian", "ggn"},
    "R of the softmax missing": {"hvp", "hessian"},
    "p p^T missing in H_L": {"hvp", "ggnvp", "hessian", "ggn"},
    "target instead of p in H_L": {"hvp", "ggnvp", "hessian", "ggn"},
    "1/N missing in H_L": {"hvp", "ggnvp", "hessian", "ggn"},
    "d_z R_W^T missing": {"hvp", "hessian"},
    "R_d_z W^T missing": {"hvp", "hessian"},
    "R_d_a without mask": {"hvp", "hessian"},
    "R_a^T d_z missing": {"hvp", "hessian"},
    "a^T R_d_z missing": {"hvp", "hessian"},
    "R_d_b missing": {"hvp", "hessian"},
    "penalty missing in the second derivatives": {"hvp", "ggnvp", "hessian", "ggn"},
    "no factor 2 in the penalty": {"hvp", "ggnvp", "hessian", "ggn"},
    "penalty on biases": {"hvp", "ggnvp", "hessian", "ggn"},
    "Gauss-Newton instead of the Hessian": {"hvp", "hessian"},
    "Hessian instead of Gauss-Newton": {"ggnvp", "ggn"},
    "J^T without mask": {"ggnvp", "ggn"},
    "dense weights column by column": {"hessian", "ggn"},
    "dense biases before weights": {"hessian", "ggn"},
    "Fisher of the labels": {FISHER},
    "Fisher without p": {FISHER},
    "Fisher as the square of the mean": {FISHER},
    "Fisher summed over the rows": {FISHER},
    "diagonal without p p^T": {DIAGONAL},
    "diagonal without the penalty": {DIAGONAL},
    "diagonal with the penalty on biases": {DIAGONAL},
    "factor without its tails": {DIAGONAL},
}


def derivatives_with(
    fault: str,
    params: Params,
    tangents: Params,
    X: Array,
    y: Array,
    weight_decay: float,
    max_norm: float,
) -> dict[str, Any]:
    """Compute them all with this fault, or with none for an empty string."""
    if fault not in {"", *FAULTS}:
        raise ValueError(f"fault must be one of FAULTS, got {fault!r}")
    at = _At(fault, params, X, y, weight_decay)
    products = {name: at.product(tangents, name) for name in ("hvp", "ggnvp")}
    return {
        **at.rows(max_norm),
        **at.along(tangents),
        **products,
        "hessian": at.dense("hvp"),
        "ggn": at.dense("ggnvp"),
        FISHER: at.fisher(),
        DIAGONAL: at.diagonal(),
    }


class _At:
    """A network and a batch, gone up and down once."""

    def __init__(self, fault: str, params: Params, X: Array, y: Array, weight_decay: float) -> None:
        self.fault, self.params, self.decay = fault, params, X.dtype.type(weight_decay)
        self.N, self.L = len(X), len(params)
        self.target = np.eye(params[-1].bias.size, dtype=X.dtype)[y] if y.ndim == 1 else y
        self.a, self.z = [X], []
        for weight, bias in params:
            self.z.append(self.a[-1] @ weight + bias)
            self.a.append(np.where(self.z[-1] > 0, self.z[-1], 0))
        e = np.exp(self.z[-1] - self.z[-1].max(axis=1, keepdims=True))
        self.p = e / e.sum(axis=1, keepdims=True)
        self.d_z = self.down(self.p - self.target)  # of each row's own loss

    def down(self, d_logits: Array, *, masked: bool = True) -> list[Array]:
        """Go down to [d_z_1, ..., d_z_L]."""
        d_z = [d_logits]
        for l in range(self.L - 1, 0, -1):
            d_a = d_z[0] @ self.params[l].weight.T
            d_z.insert(0, np.where((self.z[l - 1] > 0) | (not masked), d_a, 0))
        return d_z

    def rows(self, max_norm: float) -> dict[str, Any]:
        """Compute the rows' gradients, their norms and the clipped mean."""
        fault, N = self.fault, self.N
        weights = [
            np.einsum("ni,nj->nij", a, d) for a, d in zip(self.a[:-1], self.d_z, strict=True)
        ]
        layer_squares = [
            (w**2).sum(axis=(1, 2)) + (0 if fault == "norm without the bias" else (d**2).sum(1))
            for w, d in zip(weights, self.d_z, strict=True)
        ]
        squares = np.sum(layer_squares, axis=0)
        if fault == "norms summed over the layers, not squares":
            squares = np.sum(np.sqrt(layer_squares), axis=0) ** 2
        elif fault == "norm of the row's part of the mean":
            squares = squares / N**2
        elif fault == "norm of the weights of the last layer alone":
            squares = layer_squares[-1]
        return {ROWS: self.row_gradients(weights), NORMS: squares, CLIPPED: self.clipped(max_norm)}

    def row_gradients(self, weights: list[Array]) -> Params:
        """Lay the rows' gradients out like the parameters."""
        gradients = []
        for (weight, _), d_weight, d_bias in zip(self.params, weights, self.d_z, strict=True):
            if self.fault == "row gradients divided by N":
                gradients.append(Dense(d_weight / self.N, d_bias / self.N))
            elif self.fault == "row gradients with the penalty":
                gradients.append(Dense(d_weight + 2 * self.decay * weight, d_bias))
            elif self.fault == "row bias gradients summed":
                gradients.append(Dense(d_weight, np.tile(d_bias.sum(axis=0), (self.N, 1))))
            else:
                gradients.append(Dense(d_weight, d_bias))
        return tuple(gradients)

    def clipped(self, max_norm: float) -> Params:
        """Scale every row's gradient and take the mean."""
        fault, limit = self.fault, self.a[0].dtype.type(max_norm)
        layers = [
            np.concatenate([np.einsum("ni,nj->nij", a, d).reshape(self.N, -1), d], axis=1)
            for a, d in zip(self.a[:-1], self.d_z, strict=True)
        ]
        norms = np.sqrt(sum((layer**2).sum(axis=1) for layer in layers))
        scale = np.minimum(1, limit / norms)
        if fault == "rows scaled up to max_norm":
            scale = limit / norms
        elif fault == "rows above max_norm dropped":
            scale = np.where(norms <= limit, 1, 0).astype(norms.dtype)
        result = []
        for (weight, bias), layer in zip(self.params, layers, strict=True):
            if fault == "each layer clipped by itself":
                scale = np.minimum(1, limit / np.sqrt((layer**2).sum(axis=1)))
            mean = (scale[:, None] * layer).sum(axis=0)
            mean = mean if fault == "clipped sum not divided by N" else mean / self.N
            if fault == "the mean clipped, not the rows":
                mean = layer.mean(axis=0)
            result.append(Dense(mean[: -bias.size].reshape(weight.shape), mean[-bias.size :]))
        if fault == "the mean clipped, not the rows":
            norm = np.sqrt(sum((leaf**2).sum() for layer in result for leaf in layer))
            factor = np.minimum(1, limit / norm)
            result = [Dense(factor * weight, factor * bias) for weight, bias in result]
        if fault == "clipped mean with the penalty":
            result = [
                Dense(d_weight + 2 * self.decay * weight, d_bias)
                for (d_weight, d_bias), (weight, _) in zip(result, self.params, strict=True)
            ]
        return tuple(result)

    def up(self, tangents: Params) -> list[Array]:
        """Go up with tangents: [R_z_1, ..., R_z_L]."""
        R_a, R_z = np.zeros_like(self.a[0]), []
        for l, (R_weight, R_bias) in enumerate(tangents):
            terms = {
                "R_b missing": R_bias,
                "a R_W missing": self.a[l] @ R_weight,
                "R_a W missing": R_a @ self.params[l].weight,
            }
            R_z.append(sum(term for fault, term in terms.items() if fault != self.fault))
            unmasked = self.fault == "R_a without mask"
            R_a = np.where((self.z[l] > 0) | unmasked, R_z[-1], 0)
        return [np.broadcast_to(R, z.shape) for R, z in zip(R_z, self.z, strict=True)]

    def along(self, tangents: Params) -> dict[str, Any]:
        """Compute the loss and its derivative along the tangents."""
        fault, mean = self.fault, 1 if self.fault == "jvp not divided by N" else self.N
        penalty = sum((weight**2).sum() for weight, _ in self.params)
        R_penalty = sum(
            2 * (weight * R_weight).sum()
            for (weight, _), (R_weight, _) in zip(self.params, tangents, strict=True)
        )
        factor = {"jvp without the penalty": 0, "jvp with half the penalty": 0.5}.get(fault, 1)
        R_loss = (self.d_z[-1] * self.up(tangents)[-1]).sum() / mean
        log_p = self.z[-1] - self.z[-1].max(axis=1, keepdims=True)
        log_p = log_p - np.log(np.exp(log_p).sum(axis=1, keepdims=True))
        return {
            "jvp, loss": -(self.target * log_p).sum() / self.N + self.decay * penalty,
            "jvp, d_loss": R_loss + factor * self.decay * R_penalty,
        }

    def product(self, tangents: Params, matrix: str) -> Params:
        """Compute the product with the Hessian ("hvp") or the Gauss-Newton matrix ("ggnvp")."""
        fault, N = self.fault, self.N
        gauss_newton = matrix == "ggnvp"
        if fault == "Gauss-Newton instead of the Hessian":
            gauss_newton = True
        elif fault == "Hessian instead of Gauss-Newton":
            gauss_newton = False
        R_z = self.up(tangents)
        R_a = [np.zeros_like(self.a[0])]
        for l in range(self.L - 1):
            unmasked = fault == "R_a without mask"
            R_a.append(np.where((self.z[l] > 0) | unmasked, R_z[l], 0))
        p = self.target if fault == "target instead of p in H_L" else self.p
        R_d_logits = p * R_z[-1]
        if fault != "p p^T missing in H_L":
            R_d_logits = R_d_logits - p * (p * R_z[-1]).sum(axis=1, keepdims=True)
        if fault != "1/N missing in H_L":
            R_d_logits = R_d_logits / N
        if gauss_newton:
            R_d_z = self.down(R_d_logits, masked=fault != "J^T without mask")
        else:
            R_d_z = self.down_with(tangents, R_d_logits)
        result = []
        for l, ((R_weight, R_bias), R_d) in enumerate(zip(tangents, R_d_z, strict=True)):
            a, d_z = self.a[l], self.d_z[l] / N
            R_d_weight, R_d_bias = np.zeros_like(R_weight), R_d.sum(axis=0)
            if gauss_newton or fault != "a^T R_d_z missing":
                R_d_weight = R_d_weight + a.T @ R_d
            if not gauss_newton and fault != "R_a^T d_z missing":
                R_d_weight = R_d_weight + R_a[l].T @ d_z
            if not gauss_newton and fault == "R_d_b missing":
                R_d_bias = np.zeros_like(R_bias)
            on_weight, on_bias = self.penalty()
            result.append(Dense(R_d_weight + on_weight * R_weight, R_d_bias + on_bias * R_bias))
        return tuple(result)

    def penalty(self) -> tuple[Any, Any]:
        """Compute the penalty's second derivative in the weights, and in the biases."""
        factors = {"penalty missing in the second derivatives": 0, "no factor 2 in the penalty": 1}
        on_bias = 2 if self.fault == "penalty on biases" else 0
        return factors.get(self.fault, 2) * self.decay, on_bias * self.decay

    def down_with(self, tangents: Params, R_d_logits: Array) -> list[Array]:
        """Go down with tangents: [R_d_z_1, ..., R_d_z_L]."""
        if self.fault == "R of the softmax missing":
            R_d_logits = np.zeros_like(R_d_logits)
        R_d_z = [R_d_logits]
        for l in range(self.L - 1, 0, -1):
            terms = {
                "R_d_z W^T missing": R_d_z[0] @ self.params[l].weight.T,
                "d_z R_W^T missing": self.d_z[l] / self.N @ tangents[l].weight.T,
            }
            R_d_a = sum(term for fault, term in terms.items() if fault != self.fault)
            unmasked = self.fault == "R_d_a without mask"
            R_d_z.insert(0, np.where((self.z[l - 1] > 0) | unmasked, R_d_a, 0))
        return R_d_z

    def dense(self, matrix: str) -> Array:
        """Take the products with the unit vectors for columns."""
        order: Literal["C", "F"] = "F" if self.fault == "dense weights column by column" else "C"
        first = self.fault == "dense biases before weights"

        def flat(layers: Params) -> Array:
            parts = [layer[::-1] if first else layer for layer in layers]
            return np.concatenate([array.ravel(order) for layer in parts for array in layer])

        columns = []
        zero = tuple(Dense(*map(np.zeros_like, layer)) for layer in self.params)
        for array in (array for layer in zero for array in layer):
            for index in np.ndindex(array.shape):
                array[index] = 1
                columns.append((int(flat(zero).argmax()), flat(self.product(zero, matrix))))
                array[index] = 0
        return np.stack([column for _, column in sorted(columns, key=lambda pair: pair[0])], axis=1)

    def fisher(self) -> Params:
        """Compute the Fisher information's diagonal."""
        K, dtype = self.p.shape[1], self.p.dtype
        weights = self.target if self.fault == "Fisher of the labels" else self.p
        if self.fault == "Fisher without p":
            weights = np.ones_like(self.p)
        passes = [self.down(self.p - np.eye(K, dtype=dtype)[k]) for k in range(K)]
        if self.fault == "Fisher as the square of the mean":
            weights, passes = np.ones((self.N, 1), dtype), [self.d_z]
        mean = 1 if self.fault == "Fisher summed over the rows" else self.N
        return self.squares(passes, weights / mean)

    def diagonal(self) -> Params:
        """Compute the Gauss-Newton matrix's diagonal from a triangular factor of H_L."""
        p, K = self.p, self.p.shape[1]
        columns = []
        for k in range(K):
            below = np.arange(K) > k
            tail, after = p[:, k:].sum(axis=1), p[:, k + 1 :].sum(axis=1)
            if self.fault == "factor without its tails":
                tail, after = np.ones_like(tail), 1 - p[:, k]
            pivot = np.sqrt(p[:, k] * after / tail)
            ratio = pivot / np.where(after > 0, after, 1)
            column = np.where(below, -p * ratio[:, None], 0)
            column[:, k] = pivot
            if self.fault == "diagonal without p p^T":
                column = np.where(np.arange(K) == k, np.sqrt(p), 0)
            columns.append(column)
        passes = [self.down(column) for column in columns]
        diagonal = self.squares(passes, np.full((self.N, K), 1 / self.N, p.dtype))
        on_weights = 0 if self.fault == "diagonal without the penalty" else 2 * self.decay
        on_biases = 2 * self.decay if self.fault == "diagonal with the penalty on biases" else 0
        return tuple(Dense(weight + on_weights, bias + on_biases) for weight, bias in diagonal)

    def squares(self, passes: list[list[Array]], weights: Array) -> Params:
        """Sum the squares of the passes' gradients over the rows, with a weight for each."""
        result = []
        for l, a in enumerate(self.a[:-1]):
            rows = np.stack([one[l] for one in passes], axis=1)  # (N, K, fan_out)
            summed = np.einsum("nk,nkj->nj", weights, rows**2)
            result.append(Dense((a**2).T @ summed, summed.sum(axis=0)))
        return tuple(result)
