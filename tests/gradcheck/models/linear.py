"""Affine models and networks of dense layers."""

import torch
from gradcheck.models import activations
from gradcheck.models.base import PLAIN, Arithmetic, Model


def affine(columns: bool = False, arithmetic: Arithmetic = PLAIN) -> Model:
    """X w + b, or w X + b with samples in columns; w (k,) or (k, m), with or without b."""

    def forward(X, w=None, b=None, W=None):
        z = w @ X if columns else X @ (W if w is None else w)
        return z if b is None else z + b

    def manual(mistakes, X, w=None, b=None, W=None):
        x, name, weight = X.T if columns else X, *(("W", W) if w is None else ("w", w))

        def pull(d):
            back = torch.outer(d, weight) if d.dim() == 1 else d @ weight.T
            g = {"X": back.T if columns else back, name: arithmetic.product(x, d)}
            if b is not None:
                g["b"] = d if "bias for each sample" in mistakes else arithmetic.total(d)
            return g

        z = x @ weight
        return z if b is None else z + b, pull

    return Model(forward, manual)


def network(names, columns=False, residual=False, variants=None, learning_rate=0.0, arithmetic=PLAIN) -> Model:
    """Layers h Wₖ + bₖ, or Wₖ h + bₖ with samples in columns, each with its activation; residual where the shapes fit.

    An input dzₖ is added before the activation: its gradient is the layer's delta. With a learning rate, the weights
    are updated before they take part in the backward pass: a mistake.
    """
    depth = len(names)
    variants = variants or [0] * depth

    def forward(X, **p):
        h = X
        for k, (name, variant) in enumerate(zip(names, variants), 1):
            before = h
            z = p[f"W{k}"] @ h + p[f"b{k}"].reshape(-1, 1) if columns else h @ p[f"W{k}"] + p[f"b{k}"]
            h = activations.forward(name, variant)(z + p[f"dz{k}"] if f"dz{k}" in p else z)
            if residual and h.shape == before.shape:
                h = h + before
        return h

    def manual(mistakes, X, **p):
        W = [p[f"W{k}"].T if columns else p[f"W{k}"] for k in range(1, depth + 1)]
        h = z = X.T if columns else X
        steps = []
        for k, (name, variant) in enumerate(zip(names, variants), 1):
            z_before, z = z, h @ W[k - 1] + p[f"b{k}"].reshape(-1)
            a, derivative = activations.value_and_derivative(name, z, mistakes, f" in layer {k}", variant, arithmetic)
            skip = residual and a.shape == h.shape
            steps.append((h, z_before, derivative, skip))
            h = a + h if skip else a

        def pull(d):
            g = {}
            d = d.T if columns else d
            for k, (h, z_before, derivative, skip) in reversed(list(enumerate(steps, 1))):
                delta = d * derivative
                if f"z for a in W{k}" in mistakes:
                    h = z_before
                if f"X for a in W{k}" in mistakes:
                    h = X
                g[f"W{k}"] = arithmetic.product(delta, h) if columns else arithmetic.product(h, delta)
                g[f"b{k}"] = arithmetic.total(delta).reshape(p[f"b{k}"].shape)
                if f"b{k} for each sample" in mistakes:
                    g[f"b{k}"] = delta.T if columns else delta
                if f"b{k} summed over the units" in mistakes:
                    g[f"b{k}"] = delta.sum(1, keepdim=True)
                if f"dz{k}" in p:
                    g[f"dz{k}"] = delta
                back = W[k - 1] - learning_rate * g[f"W{k}"] if learning_rate else W[k - 1]
                if f"back through W{k - 1} for W{k}" in mistakes:
                    back = W[k - 2]
                if f"back through W{k} untransposed" in mistakes:
                    back = back.T
                d = delta @ back.T + d if skip else delta @ back.T
            return g | {"X": d.T if columns else d}

        return h.T if columns else h, pull

    return Model(forward, manual)


def dropout(rate: float = 0.25) -> Model:
    """The ReLU of X W with a mask that is given, times v."""

    def forward(X, W, v, mask):
        return torch.relu(X @ W) * mask / (1 - rate) @ v

    def manual(mistakes, X, W, v, mask):
        a = torch.relu(X @ W)
        h = a * mask / (1 - rate)

        def pull(e):
            d = e[:, None] * v * (a > 0)
            d = d if "mask forgotten" in mistakes else d * mask
            d = d if "scale forgotten" in mistakes else d / (1 - rate)
            return {"W": X.T @ d, "v": (a if "v before the dropout" in mistakes else h).T @ e}

        return h @ v, pull

    return Model(forward, manual)


def residual_blocks() -> Model:
    """Two blocks h + ReLU(h W) V."""

    def forward(X, W1, V1, W2, V2):
        h = X + torch.relu(X @ W1) @ V1
        return h + torch.relu(h @ W2) @ V2

    def manual(mistakes, X, W1, V1, W2, V2):
        r1 = torch.relu(X @ W1)
        h = X + r1 @ V1
        r2 = torch.relu(h @ W2)

        def pull(d):
            d2 = d @ V2.T * ((h if "derivative 2 at h" in mistakes else r2) > 0)
            dh = d if "branch forgotten" in mistakes else d2 @ W2.T
            if not {"skip forgotten", "branch forgotten"} & set(mistakes):
                dh = dh + d
            d1 = dh @ V1.T
            d1 = d1 if "no derivative 1" in mistakes else d1 * (r1 > 0)
            return {"X": dh + d1 @ W1.T, "W1": X.T @ d1, "V1": r1.T @ dh, "W2": h.T @ d2, "V2": r2.T @ d}

        return h + r2 @ V2, pull

    return Model(forward, manual)


def autoencoder() -> Model:
    """σ(X W₁) W₂ − X; without W₂ the decoder is the encoder's transpose."""

    def forward(X, W1, W2=None):
        return torch.sigmoid(X @ W1) @ (W1.T if W2 is None else W2) - X

    def manual(mistakes, X, W1, W2=None):
        decoder = W1.T if W2 is None else W2
        a = torch.sigmoid(X @ W1)

        def pull(e):
            d = e @ decoder.T * a * (1 - a)
            d = -d if "sign below the decoder" in mistakes else d
            g = {"X": d @ W1.T - (0 if "X as the target forgotten" in mistakes else e), "W1": X.T @ d, "W2": a.T @ e}
            if W2 is None:
                last = g.pop("W2")
                g["W1"] = g["W1"] + (last if "decoder's term transposed" in mistakes else last.T)
            return g

        return a @ decoder - X, pull

    return Model(forward, manual)


def weight_norm() -> Model:
    """X (g v / |v|)."""

    def manual(mistakes, X, v, g):
        u = v / v.norm()

        def pull(d):
            dw = X.T @ d
            dv = dw if "g forgotten" in mistakes else g * dw
            dv = dv if "length as constant" in mistakes else dv - u * (u @ dv)
            return {"v": dv / v.norm(), "g": u @ dw}

        return X @ (g * u), pull

    return Model(lambda X, v, g: X @ (g * v / v.norm()), manual)
