"""Functions of single numbers and vectors, and likelihoods."""

import torch
from gradcheck.models.base import Model

LINKS = {  # functions of u, and their derivatives from u and the value v
    "sqrt": (lambda u: (u + 1).sqrt(), lambda u, v: 1 / (2 * v)),
    "log": (lambda u: (u + 1).log(), lambda u, v: 1 / (1 + u)),
    "exp": (lambda u: torch.exp(-u), lambda u, v: -v),
    "square": (lambda u: u**2, lambda u, v: 2 * u),
    "ratio": (lambda u: u / (1 + u), lambda u, v: 1 / ((1 + u) * (1 + u))),
    "sine": (lambda u: 1 + torch.sin(u), lambda u, v: torch.cos(u)),
    "atan": (torch.atan, lambda u, v: 1 / (1 + u * u)),
    "log1p": (torch.log1p, lambda u, v: 1 / (1 + u)),
    "cube": (lambda u: u**3, lambda u, v: 3 * u * u),
    "root": (lambda u: (u * u + 1e-2).sqrt(), lambda u, v: u / v),
}


def chain(names: list[str]) -> Model:
    """Functions of functions of x."""

    def forward(x):
        for name in names:
            x = LINKS[name][0](x)
        return x

    def manual(mistakes, x):
        derivatives = []
        for name in names:
            function, derivative = LINKS[name]
            value = function(x)
            derivatives.append(derivative(x, value))
            x = value

        def pull(d):
            for derivative in reversed(derivatives):
                d = d * derivative
            return {"x": d}

        return x, pull

    return Model(forward, manual)


def gaussian() -> Model:
    """The likelihood of a mean m and a log variance v: ½ Σ (v + (y − m)² e⁻ᵛ) / n."""

    def forward(m, v, y):
        return (v + (y - m) ** 2 * torch.exp(-v)).sum() / (2 * len(y))

    def manual(mistakes, m, v, y):
        r, weight, n = m - y, torch.exp(-v), len(y)
        loss = (v + r * r * weight).sum() / (2 * n)
        return loss, lambda _: {"m": r * weight / n, "y": -r * weight / n, "v": (1 - r * r * weight) / (2 * n)}

    return Model(forward, manual)


def mixture() -> Model:
    """The likelihood of a mixture of normal distributions: means μ, log standard deviations ρ, logits π."""

    def logits(x, mu, rho, pi):
        return torch.log_softmax(pi, 0) - rho - ((x[:, None] - mu) / torch.exp(rho)) ** 2 / 2

    def manual(mistakes, x, mu, rho, pi):
        z = logits(x, mu, rho, pi)
        sigma = torch.exp(rho)
        t = (x[:, None] - mu) / sigma
        r = torch.ones_like(z) if "responsibilities forgotten" in mistakes else torch.softmax(z, 1)

        def pull(d):
            terms = {
                "mu": -(r * t) if "1/σ forgotten" in mistakes else -(r * t / sigma),
                "rho": -(r * t**2) if "log σ forgotten" in mistakes else r * (1 - t**2),
                "pi": -r if "normalizer of π forgotten" in mistakes else torch.softmax(pi, 0) - r,
            }
            return {name: d * term.sum(0) / len(x) for name, term in terms.items()}

        return -torch.logsumexp(z, 1).mean(), pull

    return Model(lambda **inputs: -torch.logsumexp(logits(**inputs), 1).mean(), manual)


def scalar(forward, derivatives) -> Model:
    """A scalar function and its gradients, both of the inputs."""
    return Model(forward, lambda mistakes, **inputs: (forward(**inputs), lambda _: derivatives(**inputs)))
