"""Models with a loop: recurrent networks and differential equations by Euler's method."""

import torch
from gradcheck.models import activations
from gradcheck.models.base import PLAIN, Arithmetic, Model


def recurrent(activation="tanh", variant=0, last=True, arithmetic: Arithmetic = PLAIN) -> Model:
    """hₜ = φ(Xₜ Wx + hₜ₋₁ Wh + b); the output is the last h or the sum of all, times v if there is one."""
    function = activations.forward(activation, variant)

    def forward(X, Wx, Wh, b, h, v=None):
        total = 0
        for x in X:
            h = function(x @ Wx + h @ Wh + b)
            total = total + h if not last else h
        return total if v is None else total @ v

    def manual(mistakes, X, Wx, Wh, b, h, v=None):
        hs, derivatives = [h], []
        for x in X:
            z = x @ Wx + hs[-1] @ Wh + b
            h, derivative = activations.value_and_derivative(activation, z, mistakes, "", variant, arithmetic)
            hs.append(h)
            derivatives.append(derivative)
        output = hs[-1] if last else sum(hs[1:])

        def pull(d):
            g = {name: torch.zeros_like(tensor) for name, tensor in {"X": X, "Wx": Wx, "Wh": Wh, "b": b}.items()}
            if v is not None:
                g["v"], d = output.T @ d, d[:, None] * v
            g["h"] = back = d
            for t in reversed(range(len(X))):
                delta = back * derivatives[t]
                if "assigned at each step" in mistakes:
                    g |= {name: torch.zeros_like(g[name]) for name in ("Wx", "Wh", "b")}
                x = X[len(X) - 1 - t if "X in reverse" in mistakes else t]
                g["Wx"] = g["Wx"] + arithmetic.product(x, delta)
                g["Wh"] = g["Wh"] + arithmetic.product(hs[t + 1 if "h for the h before" in mistakes else t], delta)
                g["b"] = g["b"] + arithmetic.total(delta)
                g["X"][t] = delta @ Wx.T
                if "only the last step" in mistakes:
                    break
                g["h"] = delta @ (Wh if "Wh untransposed" in mistakes else Wh.T)
                back = g["h"] if last else g["h"] + d
            return g

        return output if v is None else output @ v, pull

    return Model(forward, manual)


def gated(reset: bool = False) -> Model:
    """hₜ = (1 − z) hₜ₋₁ + z c, with an update gate z and a candidate c; a GRU with its reset gate r too."""

    def step(x, h, p):
        z = torch.sigmoid(x @ p["Wz"] + h @ p["Uz"])
        r = torch.sigmoid(x @ p["Wr"] + h @ p["Ur"]) if reset else None
        c = torch.tanh(x @ p["Wc"] + (r * h if reset else h) @ p["Uc"])
        return z, r, c

    def start(X, h, p):
        return torch.zeros(X.shape[1], len(p["Uz"]), dtype=X.dtype) if h is None else h

    def forward(X, h=None, out=None, **p):
        h = start(X, h, p)
        for x in X:
            z, _, c = step(x, h, p)
            h = (1 - z) * h + z * c
        return h if out is None else h @ out

    def manual(mistakes, X, h=None, out=None, **p):
        h, tape = start(X, h, p), []
        for x in X:
            z, r, c = step(x, h, p)
            tape.append((x, h, z, r, c))
            h = (1 - z) * h + z * c

        def pull(d):
            g = {name: torch.zeros_like(tensor) for name, tensor in p.items()}
            if out is not None:
                g["out"], d = h.T @ d, d[:, None] * out
            for x, before, z, r, c in reversed(tape):
                dz = d * (c - before)
                dz = dz if "gate's derivative forgotten" in mistakes else dz * z * (1 - z)
                dz = -dz if "sign of dz" in mistakes else dz
                dc = d * (1 - c**2)
                dc = dc if "factor z forgotten" in mistakes else dc * z
                deltas = {"z": (dz, before), "c": (dc, r * before if reset else before)}
                back = dc @ p["Uc"].T
                carried = 0 if "(1 − z) h forgotten" in mistakes else d * (1 - z)
                if reset:
                    dr = back * before * r * (1 - r)
                    deltas["r"] = dr, before
                    back = back * r + dr @ p["Ur"].T
                if "z h for h in Uc" in mistakes:
                    deltas["c"] = dc, z * before
                for gate, (delta, seen) in deltas.items():
                    g[f"W{gate}"] = g[f"W{gate}"] + x.T @ delta
                    g[f"U{gate}"] = g[f"U{gate}"] + seen.T @ delta
                d = carried + dz @ p["Uz"].T + back
            return g | {"h": d}

        return h if out is None else h @ out, pull

    return Model(forward, manual)


STEP = 0.1


def euler(steps: int = 8) -> Model:
    """x′ = tanh(x A + b)."""

    def forward(x, A, b):
        for _ in range(steps):
            x = x + STEP * torch.tanh(x @ A + b)
        return x

    def manual(mistakes, x, A, b):
        path, derivatives = [], []
        for _ in range(steps):
            path.append(x)
            f = torch.tanh(x @ A + b)
            derivatives.append(1 - f**2)
            x = x + STEP * f
        if "derivatives in the order of time" in mistakes:
            derivatives.reverse()

        def pull(d):
            g = {"A": torch.zeros_like(A), "b": torch.zeros_like(b)}
            for x, derivative in zip(reversed(path), reversed(derivatives)):
                dz = d * derivative * (1 if "step forgotten" in mistakes else STEP)
                if "A and b assigned" in mistakes:
                    g = {"A": torch.zeros_like(A), "b": torch.zeros_like(b)}
                g = {"A": g["A"] + torch.outer(x, dz), "b": g["b"] + dz}
                back = dz @ (A if "A untransposed" in mistakes else A.T)
                d = back if "identity forgotten" in mistakes else d + back
            return g | {"x": d}

        return x, pull

    return Model(forward, manual)


def growth(steps: int = 5) -> Model:
    """x′ = r x (1 − x / K)."""

    def forward(x, r, K):
        for _ in range(steps):
            x = x + STEP * r * x * (1 - x / K)
        return x

    def manual(mistakes, x, r, K):
        path = [x]
        for _ in range(steps):
            path.append(path[-1] + STEP * r * path[-1] * (1 - path[-1] / K))

        def pull(d):
            gr, gK = torch.zeros_like(r), torch.zeros_like(K)
            for x in reversed(path[:-1]):
                gr = gr + d * STEP * x * (1 - x / K)
                gK = gK + d * STEP * r * x**2 / K**2
                d = d * (1 + STEP * r * (1 - (1 if "x (1 − x) with one x" in mistakes else 2) * x / K))
            return {"x": d, "r": gr, "K": gK}

        return path[-1], pull

    return Model(forward, manual)
