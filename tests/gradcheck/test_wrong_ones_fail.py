"""Where rounding and kinks are allowed for, what is plainly wrong must fail all the same."""

import pytest
import torch
from torch.nn import functional as F

from nnmath.gradcheck import check_function, check_gradients

generator = torch.Generator().manual_seed(3)


def draw(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def integers(*shape):
    return torch.randint(0, 3, shape, generator=generator).double()


def into_a_buffer(x, w):
    h = torch.zeros(8)
    for i in range(8):
        h[i] = torch.tanh(x[i] @ w)
    return (h**2).sum()


def added_to_a_buffer(x, w):
    h = torch.zeros(8)
    h.add_(torch.tanh(x @ w))
    return (h**2).sum()


def relu_in_place(x, w):
    h = x @ w
    F.relu(h, inplace=True)
    return (h**2).sum()


X, X32 = draw(8, 3), draw(8, 3, dtype=torch.float32)
W, W32 = draw(3), draw(3, dtype=torch.float32)
LABELS = integers(8)
SITUATIONS = {
    "labels cast to integers": (
        lambda x, y, w: F.cross_entropy(x @ w, y.long()),
        {"x": X, "y": LABELS, "w": draw(3, 3)},
    ),
    "labels compared by ==": (
        lambda x, y, w: (torch.where(y == 1, 3.0, 1.0) * torch.sigmoid(x @ w)).sum(),
        {"x": X, "y": LABELS, "w": W},
    ),
    "labels compared by >=": (
        lambda x, y, w: (torch.where(y >= 1, 3.0, 1.0) * torch.sigmoid(x @ w)).sum(),
        {"x": X, "y": LABELS, "w": W},
    ),
    "labels rounded": (
        lambda x, y, w: (torch.floor(y * 3) * torch.sigmoid(x @ w)).sum(),
        {"x": X, "y": X[:, 0], "w": W},
    ),
    "a buffer written to": (into_a_buffer, {"x": X32, "w": W32}),
    "a buffer added to": (added_to_a_buffer, {"x": X32, "w": W32}),
    "an activation in place": (relu_in_place, {"x": X, "w": W}),
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
        {"x": X32, "mask": torch.ones(8, dtype=torch.bfloat16), "w": W32},
    ),
    "a bias of zeros under ReLU": (
        lambda b, g: (torch.relu(b) * g).sum(),
        {"b": torch.zeros(64).double(), "g": draw(64)},
    ),
    "a scalar": (lambda w: torch.exp(w) * 3, {"w": torch.tensor(0.7).double()}),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_wrong_gradients_fail(situation):
    forward, inputs = SITUATIONS[situation]
    name = next(name for name in ("w", "a", "o", "b") if name in inputs)
    leaf = inputs[name].double().requires_grad_()
    doubles = {key: tensor.double() if key != "mask" else tensor for key, tensor in inputs.items()}
    right = by_autograd(forward, {**doubles, name: leaf}, leaf)
    if situation == "a bias of zeros under ReLU":
        right = torch.where(torch.ones(64) > 0, inputs["g"], 0.0)  # ReLU′(0) = 1: autograd's is 0
    assert check_gradients(forward, inputs, {name: right.to(inputs[name].dtype)}).passed
    for factor in (-1, 2, 0) if situation != "a bias of zeros under ReLU" else (-1, 2, -0.5, 1.5):
        report = check_gradients(forward, inputs, {name: (factor * right).to(inputs[name].dtype)})
        assert not report.passed, f"{factor} times\n{report}"


def by_autograd(forward, inputs, leaf):
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # for the buffers
    try:
        return torch.autograd.grad(forward(**inputs), leaf)[0]
    finally:
        torch.set_default_dtype(default)


def test_what_passes_by_rounding_alone_says_so():
    x, w = draw(20, 3), draw(3)
    y = x @ w * (1 + 1e-12 * draw(20))
    d = (x[:, 2] * w[2] + x[:, 1] * w[1] + x[:, 0] * w[0] - y) / 20
    inputs = {"x": x, "w": w, "y": y}
    report = check_gradients(lambda x, w, y: ((x @ w - y) ** 2).sum() / 40, inputs, {"w": (x * d[:, None]).sum(0)})
    assert report.passed
    assert "no more than rounding is here" in report.entries["w"].note


AT_A_KINK = {"x": torch.tensor([0.0, 1.0, -1.0, 2.0, 3.0], dtype=torch.float64)}
ABOVE = torch.tensor([2.0, 0.4, 0.4, 0.4, 0.4], dtype=torch.float64)


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

    def test_a_kink_in_one_entry_is_no_licence_for_the_others(self):
        assert check_function(self.Relu.apply, AT_A_KINK, cotangent=ABOVE).passed
        report = check_function(self.Wrong.apply, AT_A_KINK, cotangent=ABOVE)
        assert not report.passed
        assert not check_function(lambda x: self.Wrong.apply(x), AT_A_KINK, cotangent=ABOVE).passed

    @pytest.mark.parametrize(
        ("returned", "error", "message"),
        [
            (lambda g: torch.full_like(g, torch.nan), ValueError, "that backward returned must be finite, got nan"),
            (lambda g: 3.0, ValueError, "it returned float for x, not a gradient"),
            (lambda g: g.int(), ValueError, "it returned torch.int32 for x, not a gradient"),
        ],
    )
    def test_what_is_no_gradient_is_one_line(self, returned, error, message):
        class Returns(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 1

            @staticmethod
            def backward(ctx, g):
                return returned(g)

        with pytest.raises(error, match=message):
            check_function(Returns.apply, {"x": draw(3)})

    def test_the_function_in_the_place_of_its_apply(self):
        with pytest.raises(TypeError, match=r"apply must be the Function's apply, got Relu: give Relu.apply"):
            check_function(self.Relu, AT_A_KINK)


class TestUnusualForwards:
    """What the measuring and the rules cannot deal with ends in a report all the same."""

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
        import torch.utils.checkpoint

        x = draw(4, 3)
        leaf = x.clone().requires_grad_()
        (right,) = torch.autograd.grad(forward(leaf), leaf)
        assert check_gradients(forward, {"x": x}, {"x": right}).passed
        assert not check_gradients(forward, {"x": x}, {"x": draw(4, 3)}).passed

    def test_the_random_generator_goes_on_as_if_nothing_had_been(self):
        before = torch.get_rng_state()

        def forward(x):
            torch.manual_seed(0)
            return (F.dropout(x) ** 2).sum()

        check_gradients(forward, {"x": draw(5)}, {"x": draw(5)})
        assert torch.equal(before, torch.get_rng_state())

    def test_a_loss_that_is_cut_off_from_its_input(self):
        report = check_gradients(lambda w: (w.detach() ** 2).sum(), {"w": W}, {"w": 2 * W})
        assert "the loss that forward returns does not depend on w" in report.findings[0].explanation
        assert len(report.findings) == 1
