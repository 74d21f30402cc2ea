"""Where rounding and kinks are allowed for: right gradients pass, and what is plainly wrong fails all the same."""

import pytest
import torch
import torch.utils.checkpoint
from torch.nn import functional as F

from nnmath.gradcheck import check_function, check_gradients

generator = torch.Generator().manual_seed(3)


def draw(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


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
        x, w, b = draw(6, 3, dtype=dtype), draw(3, 2, dtype=dtype), draw(2, dtype=dtype)
        y = draw(6, 2, dtype=dtype)

        def forward(x, y, w, b):
            return ((torch.tanh(x @ w + b) - y) ** 2).sum() / (2 * len(x))

        inputs = {"x": x, "y": y, "w": w, "b": b}
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

    def test_subnormal_gradients(self):
        w = vector(1e-200, 3e-310)
        for factor in (1, 2):
            assert passes(lambda w: (w**2).sum() / 2, {"w": w}, w=factor * w) is (factor == 1)


class TestKinks:
    X = vector(-1, 0, 0, 2)

    @pytest.mark.parametrize(
        ("at_zero", "expected"), [(0, True), (0.25, True), (0.5, True), (1, True), (-0.5, False), (1.5, False)]
    )
    def test_relu_at_0_passes_between_its_one_sided_derivatives(self, at_zero, expected):
        derivative = torch.where(self.X == 0, at_zero, (self.X > 0).double())
        assert passes(lambda x: torch.relu(x).sum(), {"x": self.X}, x=derivative) is expected

    @pytest.mark.parametrize("n", [200, 3000])
    def test_many_relus_at_0(self, n):
        for at_zero, expected in ((0, True), (0.5, True), (1, True), (1.5, False), (1.9, False), (-0.9, False)):
            gradient = torch.full((n,), at_zero, dtype=torch.float64)
            assert passes(lambda x: x.relu().sum(), {"x": torch.zeros(n).double()}, x=gradient) is expected

    def test_a_scalar_at_a_kink(self):
        a = torch.tensor(0.0).double()
        for derivative, expected in ((1, True), (-1, True), (0, True), (1.5, False)):
            gradient = torch.tensor(float(derivative)).double()
            assert passes(lambda a: torch.stack([a, -a]).max(), {"a": a}, a=gradient) is expected

    def test_a_layer_whose_relus_are_all_at_0(self):
        """One-sided derivatives of a weight do not bound what a convention gives: both are 1, ReLU′(0) = 1 makes 2."""
        x, w, c = vector(1, -1)[:, None], vector(0), vector(1, -1)
        for factor in (0, 0.5, 1, -1):
            gradient = factor * (c @ x)
            assert passes(lambda x, w, c: (c * torch.relu(x @ w)).sum(), {"x": x, "w": w, "c": c}, w=gradient) is (
                factor >= 0
            )

    def test_where_autograd_is_nan(self):
        inputs = {"x": vector(-1, 4)}

        def loss(x):
            return torch.where(x > 0, x.sqrt(), 0 * x).sum()

        assert passes(loss, inputs, x=vector(0, 0.25))
        report = check_gradients(loss, inputs, {"x": vector(1, 0.25)})
        assert not report.passed
        assert report.entries["x"].reference == pytest.approx(0)

    def test_where_autograd_is_wrong(self):
        """relu(x) − relu(−x) is x, also at 0, where autograd says 0."""
        for gradient, expected in ((vector(1, 1, 1, 1), True), (vector(1, 3, 1, 1), False)):
            report = check_gradients(lambda x: (torch.relu(x) - torch.relu(-x)).sum(), {"x": self.X}, {"x": gradient})
            assert report.passed is expected
            assert "x" in str(report)

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

    def test_the_largest_of_several(self):
        inputs = {"input": vector(1, 3, 3)}
        for gradient in (vector(0, 1, 0), vector(0, 0, 1), vector(0, 0.5, 0.5)):
            assert passes(torch.max, inputs, input=gradient)
        assert not passes(torch.max, inputs, input=vector(1, 0, 0))

    def test_detach_is_respected(self):
        """Finite differences would see the detached path, but detach says what is intended."""
        x = draw(3)
        for factor in (1, 2):
            assert passes(lambda x: (x * x.detach()).sum(), {"x": x}, x=factor * x) is (factor == 1)


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


X, X32 = draw(8, 3), draw(8, 3, dtype=torch.float32)
W, W32 = draw(3), draw(3, dtype=torch.float32)
LABELS = torch.randint(0, 3, (8,), generator=generator).double()
SITUATIONS = {
    "labels cast to integers": (
        lambda x, y, w: F.cross_entropy(x @ w, y.long()),
        {"w": draw(3, 3), "x": X, "y": LABELS},
    ),
    "labels compared by ==": (
        lambda x, y, w: (torch.where(y == 1, 3.0, 1.0) * torch.sigmoid(x @ w)).sum(),
        {"w": W, "x": X, "y": LABELS},
    ),
    "labels compared by >=": (
        lambda x, y, w: (torch.where(y >= 1, 3.0, 1.0) * torch.sigmoid(x @ w)).sum(),
        {"w": W, "x": X, "y": LABELS},
    ),
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
    "a mask of a coarse type": (
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


def test_wrong_gradients_of_a_bias_of_zeros_under_relu_fail():
    inputs = {"b": torch.zeros(64).double(), "g": draw(64)}
    for at_zero in (1, -1, 2, -0.5, 1.5):
        gradient = at_zero * inputs["g"]
        assert passes(lambda b, g: (torch.relu(b) * g).sum(), inputs, b=gradient) is (at_zero == 1)


AT_A_KINK = {"x": vector(0, 1, -1, 2, 3)}
COTANGENT = vector(2, 0.4, 0.4, 0.4, 0.4)


class TestFunctions:
    class Relu(torch.autograd.Function):
        """In NumPy, where autograd cannot follow."""

        sign = 1

        @classmethod
        def forward(cls, ctx, x):
            ctx.save_for_backward(x)
            return torch.from_numpy(x.detach().numpy().clip(min=0))

        @classmethod
        def backward(cls, ctx, g):
            (x,) = ctx.saved_tensors
            return cls.sign * g * (x > 0)

    class Wrong(Relu):
        sign = -1

    def test_a_kink_in_one_entry_does_not_excuse_the_others(self):
        assert check_function(self.Relu.apply, AT_A_KINK, cotangent=COTANGENT).passed
        assert not check_function(self.Wrong.apply, AT_A_KINK, cotangent=COTANGENT).passed
        assert not check_function(lambda x: self.Wrong.apply(x), AT_A_KINK, cotangent=COTANGENT).passed

    @pytest.mark.parametrize(
        ("gradient", "error", "message"),
        [
            (lambda g: torch.full_like(g, torch.nan), ValueError, "that backward returned must be finite, got nan"),
            (lambda g: 3.0, ValueError, "it returned float for x, not a gradient"),
            (lambda g: g.int(), ValueError, "it returned torch.int32 for x, not a gradient"),
        ],
    )
    def test_invalid_gradient(self, gradient, error, message):
        class Invalid(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 1

            @staticmethod
            def backward(ctx, g):
                return gradient(g)

        with pytest.raises(error, match=message):
            check_function(Invalid.apply, {"x": draw(3)})

    def test_function_instead_of_its_apply(self):
        with pytest.raises(TypeError, match=r"apply must be the Function's apply, got Relu: give Relu.apply"):
            check_function(self.Relu, AT_A_KINK)


class TestUnusualForwards:
    """What the measurements and the rules cannot deal with ends in a report all the same."""

    @pytest.mark.parametrize(
        "forward",
        [
            lambda x: torch.vmap(lambda row: torch.tanh(row).sum())(x).sum(),
            lambda x: torch.fft.rfft(torch.tanh(x)).abs().sum(),
            lambda x: torch.utils.checkpoint.checkpoint(lambda x: torch.tanh(x).sum(), x, use_reentrant=False),
            lambda x: torch.sparse.mm(torch.eye(4).double().to_sparse(), torch.tanh(x)).sum(),
            lambda x: torch.linalg.svdvals(x).pow(3).sum(),
        ],
        ids=["vmap", "complex", "checkpoint", "sparse", "singular values"],
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
