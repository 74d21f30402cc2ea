"""The network with hand-written gradients, alone and in everything that torch builds on reverse-mode autograd."""

import shutil
from itertools import pairwise

import pytest
import torch
from helpers.tolerances import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.nn import functional as F

from nnmath import equations
from nnmath.network import HalfMSELoss, Network, as_layers, gradients

MODULES = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "identity": nn.Identity}
ACTIVATIONS = st.sampled_from(sorted(MODULES))


def sequential(sizes, hidden, output):
    modules = []
    for n_in, n_out in pairwise(sizes):
        modules += [nn.Linear(n_in, n_out), MODULES[hidden]()]
    return nn.Sequential(*modules[:-1], MODULES[output]())


def all_gradients(network, loss, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(loss(network(x), y), [x, *network.parameters()])


@given(
    sizes=st.lists(st.integers(1, 16), min_size=2, max_size=5),
    n=st.integers(1, 64),
    hidden=ACTIVATIONS,
    output=ACTIVATIONS,
    reduction=st.sampled_from(["mean", "sum"]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    scale=st.sampled_from([0.0, 1e-12, 1e-3, 1.0, 30.0, 1e3]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=500)
def test_manual_gradients_match_autograd(sizes, n, hidden, output, reduction, dtype, scale, seed):
    """The gradients of the input and of all parameters, compared with those of a torch.nn.Sequential."""
    torch.manual_seed(seed)
    network = Network(sizes, hidden, output).to(dtype)
    plain = sequential(sizes, hidden, output).to(dtype)
    plain.load_state_dict(network.state_dict())
    x, y = scale * torch.randn(n, sizes[0], dtype=dtype), torch.rand(n, sizes[-1], dtype=dtype)
    assert torch.equal(network(x), plain(x))

    def loss(output, target):
        return F.mse_loss(output, target, reduction="sum") / (2 * n if reduction == "mean" else 2)

    reference = all_gradients(plain, loss, x, y)
    for manual, autograd in zip(all_gradients(network, HalfMSELoss(reduction), x, y), reference, strict=True):
        assert_close(manual, autograd)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("activation", MODULES)
@pytest.mark.parametrize("sizes", [(3, 2), (2, 4, 1), (2, 5, 4, 3, 2)], ids=str)
def test_composed_layers_match_the_backward_of_the_equations(sizes, activation, reduction):
    """The network splits Case 2 at the boundary between two layers; ``equations.backward`` does not."""
    network = Network(sizes, activation, activation).double()
    x, y = torch.randn(7, sizes[0], dtype=torch.float64), torch.rand(7, sizes[-1], dtype=torch.float64)
    layers, activations = as_layers(network)
    values = equations.forward(x.mT, layers, activations)
    assert_close(network(x).detach(), values[-1].mT)
    expected = equations.backward(values, layers, activations, y.mT, reduction)
    HalfMSELoss(reduction)(network(x), y).backward()
    for linear, layer in zip(network.linears, expected, strict=True):
        assert_close(linear.weight.grad, layer.weight)
        assert_close(linear.bias.grad, layer.bias)


@pytest.mark.parametrize("backward", ["manual", "autograd"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_loss_equals_the_error_of_the_equations(reduction, backward):
    output, target = torch.rand(7, 3, dtype=torch.float64), torch.rand(7, 3, dtype=torch.float64)
    assert_close(HalfMSELoss(reduction, backward)(output, target), equations.error(output.mT, target.mT, reduction))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool], ids=str)
@pytest.mark.parametrize("backward", ["manual", "autograd"])
def test_loss_keeps_the_precision_of_the_output(backward, dtype):
    output = torch.full((3, 1), 1 / 3, dtype=torch.float64, requires_grad=True)
    loss = HalfMSELoss(backward=backward)(output, torch.ones(3, 1, dtype=dtype))
    assert loss.item() == pytest.approx(2 / 9, rel=1e-15)
    loss.backward()
    torch.testing.assert_close(output.grad, torch.full((3, 1), -2 / 9, dtype=torch.float64), rtol=1e-15, atol=0)


@pytest.mark.parametrize("backward", ["manual", "autograd"])
def test_equals_the_equivalent_sequential(backward):
    torch.manual_seed(3)
    network = Network(backward=backward)
    torch.manual_seed(3)
    plain = sequential((2, 4, 1), "sigmoid", "sigmoid")
    assert network.state_dict().keys() == plain.state_dict().keys()
    assert all(map(torch.equal, network.parameters(), plain.parameters()))
    assert network.number_of_parameters == sum(parameter.numel() for parameter in network.parameters()) == 17
    plain.load_state_dict(network.state_dict())
    network.load_state_dict(plain.state_dict())


@pytest.mark.parametrize("shape", [(2,), (7, 2), (3, 7, 2), (0, 2), (2, 0, 2)])
@pytest.mark.parametrize("backward", ["manual", "autograd"])
def test_any_leading_dimensions(shape, backward):
    network = Network(backward=backward).double()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    plain = sequential((2, 4, 1), "sigmoid", "sigmoid").double()
    plain.load_state_dict(network.state_dict())
    output, reference = network(x), plain(x)
    assert output.shape == (*shape[:-1], 1)
    torch.testing.assert_close(output, reference)
    torch.testing.assert_close(
        torch.autograd.grad(output.sum(), [x, *network.parameters()]),
        torch.autograd.grad(reference.sum(), [x, *plain.parameters()]),
    )


def error_of_parameters(network, x, y):
    """The error as a function of the parameters, for torch.func."""
    return lambda parameters: HalfMSELoss(backward=network.backward)(functional_call(network, parameters, (x,)), y)


@pytest.mark.parametrize("activation", MODULES)
class TestReverseMode:
    @pytest.fixture
    def problem(self, activation):
        network = Network((2, 4, 3, 1), activation, activation).double()
        return network, torch.randn(5, 2, dtype=torch.float64), torch.rand(5, 1, dtype=torch.float64)

    def test_gradcheck_and_gradgradcheck(self, problem):
        network, x, y = problem
        names = [name for name, _ in network.named_parameters()]

        def error(x, y, *parameters):
            return HalfMSELoss()(functional_call(network, dict(zip(names, parameters, strict=True)), (x,)), y)

        inputs = [x.requires_grad_(), y.requires_grad_(), *network.parameters()]
        assert torch.autograd.gradcheck(error, inputs)
        assert torch.autograd.gradgradcheck(error, inputs)

    def test_hessian_by_jacrev_of_jacrev(self, problem):
        network, x, y = problem
        parameters = dict(network.named_parameters())
        manual = jacrev(jacrev(error_of_parameters(network, x, y)))(parameters)
        network.backward = "autograd"
        reference = jacrev(jacrev(error_of_parameters(network, x, y)))(parameters)
        for a in parameters:
            for b in parameters:
                torch.testing.assert_close(manual[a][b], reference[a][b], rtol=1e-12, atol=1e-15)

    def test_gradients_per_sample_by_vmap(self, problem):
        network, x, y = problem
        parameters = dict(network.named_parameters())

        def error(parameters, x, y):
            return HalfMSELoss()(functional_call(network, parameters, (x,))[None], y[None])

        per_sample = vmap(grad(error), (None, 0, 0))(parameters, x, y)
        for name, gradient in grad(error_of_parameters(network, x, y))(parameters).items():
            torch.testing.assert_close(per_sample[name].mean(0), gradient, rtol=1e-12, atol=1e-15)

    @pytest.mark.parametrize("x_dtype", [torch.float32, torch.bfloat16])
    def test_bf16_autocast(self, problem, x_dtype):
        network, x, y = (part.float() for part in problem)
        with torch.autocast("cpu", torch.bfloat16):
            output = network(x.to(x_dtype))
            assert output.dtype == torch.bfloat16
            loss = HalfMSELoss()(output, y)
        loss.backward()  # outside autocast, as torch recommends
        manual = [parameter.grad for parameter in network.parameters()]
        network.zero_grad()
        network.backward = "autograd"
        with torch.autocast("cpu", torch.bfloat16):
            loss = HalfMSELoss(backward="autograd")(network(x.to(x_dtype)), y)
        loss.backward()
        for gradient, parameter in zip(manual, network.parameters(), strict=True):
            assert gradient.dtype == torch.float32
            # bfloat16 has 8 significant bits, so one rounding is up to 0.4 %
            assert (gradient - parameter.grad).abs().max() <= 2e-2 * parameter.grad.abs().max()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # from inside torch's forward mode
class TestRefusesForwardMode:
    message = "backward='manual' has hand-written gradients for reverse mode only"

    @pytest.mark.parametrize(
        "transform",
        [
            lambda f, p: jvp(f, (p,), (p,)),
            lambda f, p: jacfwd(f)(p),
            lambda f, p: hessian(f)(p),
            lambda f, p: jacfwd(jacfwd(f))(p),
            lambda f, p: jacrev(jacfwd(f))(p),
        ],
        ids=["jvp", "jacfwd", "hessian", "jacfwd of jacfwd", "jacrev of jacfwd"],
    )
    def test_torch_func(self, transform):
        network = Network().double()
        error = error_of_parameters(
            network, torch.randn(5, 2, dtype=torch.float64), torch.rand(5, 1, dtype=torch.float64)
        )
        parameters = dict(network.named_parameters())
        with pytest.raises(RuntimeError, match=self.message):
            transform(error, parameters)
        network.backward = "autograd"
        transform(error, parameters)

    def test_dual_levels(self):
        x = torch.randn(5, 2)
        with forward_ad.dual_level():
            with pytest.raises(RuntimeError, match=self.message):
                Network()(forward_ad.make_dual(x, x))
            with pytest.raises(RuntimeError, match=self.message):
                HalfMSELoss()(forward_ad.make_dual(x, x), x)


def test_gradients_accumulate_and_clip():
    network = Network()
    x, y = torch.randn(8, 2), torch.rand(8, 1)
    HalfMSELoss()(network(x), y).backward()
    first = [parameter.grad.clone() for parameter in network.parameters()]
    HalfMSELoss()(network(x), y).backward()
    for parameter, gradient in zip(network.parameters(), first, strict=True):
        assert torch.equal(parameter.grad, 2 * gradient)
    nn.utils.clip_grad_norm_(network.parameters(), 1e-3)
    assert nn.utils.get_total_norm([parameter.grad for parameter in network.parameters()]) <= 1.0001e-3


def test_frozen_parameters_get_no_gradient():
    network = Network()
    network[0].requires_grad_(False)
    HalfMSELoss()(network(torch.randn(8, 2)), torch.rand(8, 1)).backward()
    assert network[0].weight.grad is None
    assert network[2].weight.grad is not None


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # from inside torch's compiler
def test_torch_compile_with_fullgraph():
    network = Network().double()
    x, y = torch.randn(8, 2, dtype=torch.float64), torch.rand(8, 1, dtype=torch.float64)
    reference = all_gradients(network, HalfMSELoss(), x, y)
    compiled = torch.compile(lambda x, y: HalfMSELoss()(network(x), y), fullgraph=True)
    results = torch.autograd.grad(compiled(x, y), list(network.parameters()))
    for gradient, expected in zip(results, reference[1:], strict=True):
        assert_close(gradient, expected)


class TestReplacedChildren:
    def test_replaced_activation(self):
        network, x = Network(), torch.ones(3, 2)
        network[1] = nn.Tanh()
        manual = network(x)
        network.backward = "autograd"
        assert torch.equal(manual, network(x))

    @pytest.mark.parametrize(
        "change",
        [
            lambda network: network.append(nn.Tanh()),
            lambda network: network.insert(2, nn.Dropout(0.5)),
            lambda network: network.__setitem__(1, nn.SiLU()),
            lambda network: network.__setitem__(0, nn.Bilinear(2, 2, 4)),
        ],
        ids=["append", "insert", "unknown activation", "no Linear"],
    )
    def test_refuses_unknown_children(self, change):
        network = Network()
        change(network)
        with pytest.raises(ValueError, match="backward='manual' "):
            network(torch.ones(3, 2))

    def test_a_slice_is_a_plain_sequential(self):
        network = Network()
        assert type(network[:2]) is nn.Sequential
        assert network[:2][0] is network[0]


class TestRefuses:
    @pytest.mark.parametrize(
        ("function", "arguments", "message"),
        [
            (Network, {"sizes": (2,)}, r"sizes must be .* got sizes=\(2,\)"),
            (Network, {"sizes": (2, 0, 1)}, "sizes must be"),
            (Network, {"hidden": "swish"}, "hidden must be one of sigmoid, tanh, relu, identity, got 'swish'"),
            (Network, {"output": "softmax"}, "output must be one of .* got 'softmax'"),
            (Network, {"backward": "numeric"}, "backward must be 'manual' or 'autograd', got 'numeric'"),
            (HalfMSELoss, {"reduction": "max"}, "reduction must be 'mean' or 'sum', got 'max'"),
            (HalfMSELoss, {"backward": "jax"}, "backward must be"),
        ],
    )
    def test_arguments(self, function, arguments, message):
        with pytest.raises(ValueError, match=message):
            function(**arguments)

    @pytest.mark.parametrize("shape", [(), (3,), (7, 3), (2, 7)])
    def test_inputs(self, shape):
        with pytest.raises(ValueError, match="x must have 2 features in its last dimension, got shape"):
            Network()(torch.zeros(shape))

    @pytest.mark.parametrize(
        ("shape", "target_shape", "message"),
        [
            ((7, 1), (7,), r"output and target .* got \(7, 1\) and \(7,\)"),
            *((shape, shape, "output must have shape") for shape in [(7,), (0, 1), (2, 7, 1)]),
        ],
    )
    def test_outputs(self, shape, target_shape, message):
        with pytest.raises(ValueError, match=message):
            HalfMSELoss()(torch.zeros(shape), torch.zeros(target_shape))

    @pytest.mark.parametrize("backward", ["manual", "autograd"])
    def test_accepts_a_sum_over_no_samples(self, backward):
        """A process gets no rows if a batch has fewer rows than there are processes."""
        network = Network(backward=backward)
        loss = HalfMSELoss("sum", backward)(network(torch.zeros(0, 2)), torch.zeros(0, 1))
        loss.backward()
        assert loss == 0
        assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in network.parameters())


def test_backward_can_be_changed_and_is_in_the_repr():
    network = Network()
    network.backward = "autograd"
    assert "autograd" in repr(network)
    for mode in ("manual", "autograd"):
        gradients(network, (torch.ones(1, 2), torch.ones(1, 1)), mode)
        assert network.backward == "autograd"
    with pytest.raises(ValueError, match="backward must be"):
        network.backward = "none"
