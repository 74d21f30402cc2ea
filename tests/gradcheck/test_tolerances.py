"""Tolerances for rounding and kinks: right gradients pass, wrong ones fail."""

import pytest
import torch
import torch.utils.checkpoint
from gradcheck.models.base import normal, vector
from torch.nn import functional as F

from nnmath.gradcheck import check_gradients

draw = normal(3)


def passes(forward, inputs, **gradients):
    return check_gradients(forward, inputs, gradients).passed


def by_autograd(forward, inputs, name):
    """The gradient in float64, in which the forward creates its buffers too."""
    leaf = inputs[name].double().requires_grad_()
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return torch.autograd.grad(forward(**inputs | {name: leaf}), leaf)[0]
    finally:
        torch.set_default_dtype(default)


class TestTolerance:
    @pytest.mark.parametrize(
        ("dtype", "inside", "outside"),
        [
            (torch.float64, 5e-10, 3e-9),
            (torch.float32, 5e-5, 3e-4),
            (torch.float16, 5e-3, 1e-1),
            (torch.bfloat16, 2e-2, 3e-1),
        ],
    )
    def test_is_relative_to_the_largest_entry(self, dtype, inside, outside):
        inputs = {"w": draw(3, 2), "b": draw(2), "x": draw(6, 3), "y": draw(6, 2)}
        inputs = {name: tensor.to(dtype) for name, tensor in inputs.items()}

        def forward(x, y, w, b):
            return ((torch.tanh(x @ w + b) - y) ** 2).sum() / (2 * len(x))

        reference = by_autograd(forward, {name: tensor.double() for name, tensor in inputs.items()}, "w")
        size = float(reference.abs().max())
        for error, expected in ((inside, True), (outside, False)):
            perturbed = reference.clone()
            perturbed[0, 1] += error * size
            assert passes(forward, inputs, w=perturbed.to(dtype)) is expected, error

    def test_allows_for_cancellation(self):
        """With residuals of 1e-12 of the output, rounding leaves four digits of the gradient."""
        x, w = draw(20, 3), draw(3)
        inputs = {"x": x, "w": w, "y": x @ w * (1 + 1e-12 * draw(20))}
        d = (x[:, 2] * w[2] + x[:, 1] * w[1] + x[:, 0] * w[0] - inputs["y"]) / 20
        gradient = (x * d[:, None]).sum(0)

        def loss(x, w, y):
            return ((x @ w - y) ** 2).sum() / 40

        report = check_gradients(loss, inputs, {"w": gradient})
        assert report.entries["w"].relative > 1e-9
        assert report.passed
        assert "no more than rounding is here" in report.entries["w"].note
        assert not passes(loss, inputs, w=-gradient)


AT_0, ROW, SUBNORMAL, BIAS = vector(-1, 0, 0, 2), vector(1, -1), vector(1e-200, 3e-310), draw(64)
GRADIENTS = {  # forward, inputs, gradients of the first input that pass and gradients that fail
    "ReLU at 0": (
        lambda x: torch.relu(x).sum(),
        {"x": AT_0},
        [vector(0, at_zero, at_zero, 1) for at_zero in (0, 0.25, 0.5, 1)],
        [vector(0, at_zero, at_zero, 1) for at_zero in (-0.5, 1.5)],
    ),
    **{
        f"{n} ReLUs at 0": (
            lambda x: x.relu().sum(),
            {"x": torch.zeros(n).double()},
            [torch.full((n,), at_zero).double() for at_zero in (0.0, 0.5, 1.0)],
            [torch.full((n,), at_zero).double() for at_zero in (1.5, 1.9, -0.9)],
        )
        for n in (200, 3000)
    },
    "a bias of zeros under ReLU": (
        lambda b, g: (torch.relu(b) * g).sum(),
        {"b": torch.zeros(64).double(), "g": BIAS},
        [BIAS],
        [at_zero * BIAS for at_zero in (-1, 2, -0.5, 1.5)],
    ),
    # both one-sided derivatives of the weight are 1, but ReLU′(0) = 1 in both units gives 2
    "two units at 0": (
        lambda w, x: (ROW * torch.relu(x @ w)).sum(),
        {"w": vector(0), "x": ROW[:, None]},
        [vector(0), vector(1), vector(2)],
        [vector(-2)],
    ),
    "a scalar at a kink": (lambda a: torch.stack([a, -a]).max(), {"a": vector(0)[0]}, vector(1, -1, 0), vector(1.5)),
    "the largest of several": (
        torch.max,
        {"input": vector(1, 3, 3)},
        [vector(0, 1, 0), vector(0, 0, 1), vector(0, 0.5, 0.5)],
        [vector(1, 0, 0)],
    ),
    # the derivative is 1 at 0 too, where autograd returns 0
    "relu(x) − relu(−x)": (
        lambda x: (torch.relu(x) - torch.relu(-x)).sum(),
        {"x": AT_0},
        [vector(1, 1, 1, 1)],
        [vector(1, 3, 1, 1)],
    ),
    # finite differences see the detached path, but detach is intended
    "detach": (lambda x: (x * x.detach()).sum(), {"x": AT_0}, [AT_0], [2 * AT_0]),
    "subnormal": (lambda w: (w**2).sum() / 2, {"w": SUBNORMAL}, [SUBNORMAL], [2 * SUBNORMAL]),
}


class TestKinks:
    @pytest.mark.parametrize("name", GRADIENTS)
    def test_gradients_between_the_one_sided_derivatives_pass(self, name):
        forward, inputs, right, wrong = GRADIENTS[name]
        for gradients, expected in (right, True), (wrong, False):
            for gradient in gradients:
                report = check_gradients(forward, inputs, {next(iter(inputs)): gradient})
                assert report.passed is expected, f"{gradient}\n{report}"
                assert next(iter(inputs)) in str(report)

    def test_where_autograd_is_nan(self):
        inputs = {"x": vector(-1, 4)}

        def loss(x):
            return torch.where(x > 0, x.sqrt(), 0 * x).sum()

        assert passes(loss, inputs, x=vector(0, 0.25))
        report = check_gradients(loss, inputs, {"x": vector(1, 0.25)})
        assert not report.passed
        assert report.entries["x"].reference == pytest.approx(0)

    @pytest.mark.parametrize("seed", range(6))
    def test_absolute_errors_of_0_whose_signs_depend_on_rounding(self, seed):
        """Each entry's sign may be −1, 0 or 1, and the paths to x are nearly parallel."""
        generator = torch.Generator().manual_seed(seed)
        x, gain = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((4, 3), (3,)))

        def normalized(x, gain):
            c = x - x.mean(1, keepdim=True)
            return gain * c / (c.pow(2).mean(1, keepdim=True) + 1e-5).sqrt()

        def loss(x, gain, y):
            return (normalized(x, gain) - y).abs().sum()

        signs = torch.randint(-1, 2, (4, 3), generator=generator).double()
        leaf = x.clone().requires_grad_()
        (right,) = torch.autograd.grad((normalized(leaf, gain) * signs).sum(), leaf)
        inputs = {"x": x, "gain": gain, "y": normalized(x, gain)}
        assert passes(loss, inputs, x=right)
        assert not passes(loss, inputs, x=right + 5)


def write_into_a_buffer(x, w):
    h = torch.zeros(8)
    for i in range(8):
        h[i] = torch.tanh(x[i] @ w)
    return (h**2).sum()


def add_to_a_buffer(x, w):
    h = torch.zeros(8)
    h.add_(torch.tanh(x @ w))
    return (h**2).sum()


def relu_in_place(x, w):
    h = x @ w
    F.relu(h, inplace=True)
    return (h**2).sum()


X, W = draw(8, 3), draw(3)
X32, W32 = X.float(), W.float()
LABELED = {"w": W, "x": X, "y": vector(0, 2, 1, 1, 0, 2, 2, 1)}
SITUATIONS = {
    "labels cast to integers": (lambda x, y, w: F.cross_entropy(x @ w, y.long()), LABELED | {"w": draw(3, 3)}),
    "labels compared by ==": (lambda x, y, w: (torch.where(y == 1, 3.0, 1.0) * torch.sigmoid(x @ w)).sum(), LABELED),
    "labels compared by >=": (lambda x, y, w: (torch.where(y >= 1, 3.0, 1.0) * torch.sigmoid(x @ w)).sum(), LABELED),
    "labels rounded": (
        lambda x, y, w: (torch.floor(y * 3) * torch.sigmoid(x @ w)).sum(),
        {"w": W, "x": X, "y": X[:, 0]},
    ),
    "a buffer written to": (write_into_a_buffer, {"w": W32, "x": X32}),
    "a buffer added to": (add_to_a_buffer, {"w": W32, "x": X32}),
    "an activation in place": (relu_in_place, {"w": W, "x": X}),
    "exact inputs that cancel": (
        lambda o, y: ((o - y) ** 2).mean(),
        {"o": torch.full((4,), 500_000.1).float(), "y": torch.full((4,), 500_000.0).float()},
    ),
    "large time stamps": (
        lambda a, t: ((a * (t - 1.7e9) / 100 - 1) ** 2).sum(),
        {"a": torch.tensor(1.5).double(), "t": 1.7e9 + 100 * torch.arange(4.0).double()},
    ),
    "a mask of lower precision": (
        lambda x, mask, w: (torch.tanh(x @ w) * mask.to(x.dtype)).sum(),
        {"w": W32, "x": X32, "mask": torch.ones(8, dtype=torch.bfloat16)},
    ),
    "a scalar": (lambda w: torch.exp(w) * 3, {"w": torch.tensor(0.7).double()}),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_wrong_gradients_fail(situation):
    forward, inputs = SITUATIONS[situation]
    name, tensor = next(iter(inputs.items()))
    doubles = {key: value.double() if key != "mask" else value for key, value in inputs.items()}
    right = by_autograd(forward, doubles, name)
    for factor in (1, -1, 2, 0):
        report = check_gradients(forward, inputs, {name: (factor * right).to(tensor.dtype)})
        assert report.passed is (factor == 1), f"{factor} times\n{report}"


class TestUnusualForwards:
    """Operations that the measurements and the rules cannot handle still give a report."""

    @pytest.mark.parametrize(
        "forward",
        [
            lambda x: torch.vmap(lambda row: torch.tanh(row).sum())(x).sum(),
            lambda x: torch.fft.rfft(torch.tanh(x)).abs().sum(),
            lambda x: torch.utils.checkpoint.checkpoint(lambda x: torch.tanh(x).sum(), x, use_reentrant=False),
            lambda x: torch.sparse.mm(torch.eye(4).double().to_sparse(), torch.tanh(x)).sum(),
            lambda x: torch.linalg.svdvals(x).pow(3).sum(),
            lambda x: F.cross_entropy(x, torch.full((4, 3), 1 / 3, dtype=x.dtype)),  # divides by a number of Python
        ],
        ids=["vmap", "complex", "checkpoint", "sparse", "singular values", "soft targets"],
    )
    def test_report(self, forward):
        inputs = {"x": draw(4, 3)}
        assert passes(forward, inputs, x=by_autograd(forward, inputs, "x"))
        assert not passes(forward, inputs, x=draw(4, 3))

    def test_forward_that_seeds_the_random_generator(self):
        def forward(x):
            torch.manual_seed(0)
            return (F.dropout(x) ** 2).sum()

        before = torch.get_rng_state()
        check_gradients(forward, {"x": draw(5)}, {"x": draw(5)})
        assert torch.equal(before, torch.get_rng_state())

    def test_loss_that_does_not_depend_on_its_input(self):
        report = check_gradients(lambda w: (w.detach() ** 2).sum(), {"w": W}, {"w": 2 * W})
        assert "the loss that forward returns does not depend on w" in report.findings[0].explanation
        assert len(report.findings) == 1


@pytest.mark.parametrize(("slope", "passes"), [(1.0, True), (0.0, True), (1.5, False), (-0.5, False)])
def test_kinks_in_several_steps_of_a_recurrent_network(slope, passes):
    """Pre-activations that are exactly 0, one after the other in time; ReLU′(0) = 1 at each of them."""
    generator = torch.Generator().manual_seed(4)
    X = torch.randint(-1, 2, (3, 2, 4), generator=generator).double()
    Wx = torch.randint(-1, 2, (4, 4), generator=generator).double()
    Wh = torch.randn(4, 4, generator=generator).double()
    b = torch.randint(-1, 2, (4,), generator=generator).double()
    y = torch.randn(2, 4, generator=generator).double()

    def states(X, Wx, Wh, b):
        h = [torch.zeros(2, 4, dtype=X.dtype)]
        for x in X:
            h.append(torch.relu(x @ Wx + h[-1] @ Wh + b))
        return h

    def forward(X, Wx, Wh, b, y):
        return ((states(X, Wx, Wh, b)[-1] - y) ** 2).sum()

    h, dX = states(X, Wx, Wh, b), torch.zeros_like(X)
    d = 2 * (h[-1] - y)
    for t in reversed(range(3)):
        z = X[t] @ Wx + h[t] @ Wh + b
        dz = d * ((z > 0).double() + slope * (z == 0))
        dX[t], d = dz @ Wx.T, dz @ Wh.T
    report = check_gradients(forward, {"X": X, "Wx": Wx, "Wh": Wh, "b": b, "y": y}, {"X": dX})
    assert report.passed is passes, report
