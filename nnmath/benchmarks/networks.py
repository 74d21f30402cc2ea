r"""Training of one network and of a stack, beside the same in NumPy, torch and JAX."""

import importlib.util
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nnmath.benchmarks.measure import Run
from nnmath.ensemble import init_stack, train
from nnmath.ensemble.stack import unstack
from nnmath.equations import SIGMOID, training_step, zero_velocities
from nnmath.network import HalfMSELoss, Network

RATE, MOMENTUM = 0.1, 0.9


def problem() -> tuple[Any, Any]:
    r"""Samples in columns, and their targets."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 266, generator=generator), torch.randint(2, (1, 266), generator=generator).float()


def network_runs(steps: int) -> dict[str, Run]:
    r"""Training steps of one network from the same start: forward, backward, momentum."""
    x, y = problem()
    stack, steps_of_stack = init_stack((2, 4, 1), [0]), 10 * steps
    start = unstack(stack, 0)

    def bare_equations() -> None:
        layers, velocities = start, zero_velocities(start)
        for _ in range(steps):
            layers, velocities = training_step(x, y, layers, velocities, (SIGMOID, SIGMOID), RATE, MOMENTUM)

    def stack_of_one(compile: bool) -> Callable[[], object]:
        return lambda: train(stack, x, y, epochs=steps_of_stack, learning_rate=RATE, momentum=MOMENTUM, compile=compile)

    def by_numpy() -> None:
        (w_i, b_i), (w_o, b_o) = [(layer.weight.numpy(), layer.bias.numpy()[:, None]) for layer in start]
        theta, columns, target, n = [w_i, b_i, w_o, b_o], x.numpy(), y.numpy(), np.float32(x.shape[1])
        velocity, eta, m = [np.zeros_like(p) for p in theta], np.float32(RATE), np.float32(MOMENTUM)
        for _ in range(steps):
            w_i, b_i, w_o, b_o = theta
            h = 1 / (1 + np.exp(-(w_i @ columns + b_i)))
            output = 1 / (1 + np.exp(-(w_o @ h + b_o)))
            delta_o = (output - target) / n * output * (1 - output)
            delta_i = w_o.T @ delta_o * h * (1 - h)
            gradient = [
                delta_i @ columns.T,
                delta_i.sum(1, keepdims=True),
                delta_o @ h.T,
                delta_o.sum(1, keepdims=True),
            ]
            velocity = [m * v + g for v, g in zip(velocity, gradient, strict=True)]
            theta = [p - eta * v for p, v in zip(theta, velocity, strict=True)]

    def by_torch(network: nn.Module, loss: Callable[..., Any], **options: bool) -> Run:
        optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM, **options)
        rows, target = x.mT.contiguous(), y.mT.contiguous()

        def run() -> None:
            for _ in range(steps):
                optimizer.zero_grad()
                loss(network(rows), target).backward()
                optimizer.step()

        return Run(run, steps)

    def textbook(**options: bool) -> Run:
        network = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid())
        return by_torch(network, lambda output, y: F.mse_loss(output, y) / 2, **options)

    runs = {
        "the stack, of one network": Run(stack_of_one(compile=False), steps_of_stack),
        "the equations in a loop": Run(bare_equations, steps),
        "NumPy, float32": Run(by_numpy, steps),
        "autograd and SGD(foreach=True)": textbook(foreach=True),
        "autograd and SGD(fused=True)": textbook(fused=True),
        "the Module's Functions and SGD": by_torch(Network(), HalfMSELoss()),
    }
    if can_compile():
        runs = {"the stack, of one network, torch.compile": Run(stack_of_one(compile=True), steps_of_stack), **runs}
    if importlib.util.find_spec("jax"):
        for name, by_hand in (("gradients by hand", True), ("jax.grad", False)):
            runs[f"JAX: lax.scan, {name}"] = Run(jax_run(stack, x, y, RATE, steps_of_stack, by_hand), steps_of_stack)
    return runs


def stack_runs(networks: int, steps: int) -> dict[str, Run]:
    r"""Training of many networks on the same data, each with a learning rate of its own."""
    x, y = problem()
    stack, rates = init_stack((2, 4, 1), range(networks)), torch.linspace(0.01, 1, networks)
    updates = networks * steps

    def stack_run(compile: bool) -> Callable[[], object]:
        return lambda: train(stack, x, y, epochs=steps, learning_rate=rates, momentum=MOMENTUM, compile=compile)

    def loss(theta: list[Any]) -> Any:
        w_i, b_i, w_o, b_o = theta
        h = torch.sigmoid(w_i @ x + b_i[:, None])
        return F.mse_loss(torch.sigmoid(w_o @ h + b_o[:, None]), y) / 2

    def step(theta: list[Any], velocity: list[Any], eta: list[Any]) -> tuple[list[Any], list[Any]]:
        gradient = torch.func.vmap(torch.func.grad(loss))(theta)
        velocity = [MOMENTUM * v + g for v, g in zip(velocity, gradient, strict=True)]
        return [p - rate * v for p, v, rate in zip(theta, velocity, eta, strict=True)], velocity

    def by_torch_func(step: Callable[..., Any]) -> Callable[[], None]:
        start = [parameter for layer in stack for parameter in layer]
        eta = [rates.view(-1, *[1] * (p.ndim - 1)) for p in start]

        def run() -> None:
            theta, velocity = start, [torch.zeros_like(p) for p in start]
            for _ in range(steps):
                theta, velocity = step(theta, velocity, eta)

        return run

    runs = {"the stack": Run(stack_run(compile=False), updates)}
    if can_compile():
        runs = {"the stack, torch.compile": Run(stack_run(compile=True), updates), **runs}
        compiled = torch.compile(step, dynamic=False)
        runs["torch.func: vmap of grad, torch.compile"] = Run(by_torch_func(compiled), updates)
    if importlib.util.find_spec("jax"):
        for name, by_hand in (("gradients by hand", True), ("jax.grad", False)):
            runs[f"JAX: vmap, lax.scan, {name}"] = Run(jax_run(stack, x, y, rates, steps, by_hand), updates)
    return runs


def jax_run(stack: Any, x: Any, y: Any, rates: Any, steps: int, by_hand: bool) -> Callable[[], object]:
    r"""The same training in JAX, samples in columns, jitted: vmap over the networks, scan over the steps."""
    import jax
    import jax.numpy as jnp

    columns, target = jnp.asarray(x.numpy()), jnp.asarray(y.numpy())

    def loss(theta: Any) -> Any:
        (w_i, b_i), (w_o, b_o) = theta
        h = jax.nn.sigmoid(w_i @ columns + b_i[:, None])
        return ((jax.nn.sigmoid(w_o @ h + b_o[:, None]) - target) ** 2).mean() / 2

    def hand_written(theta: Any) -> Any:
        (w_i, b_i), (w_o, b_o) = theta
        h = jax.nn.sigmoid(w_i @ columns + b_i[:, None])
        output = jax.nn.sigmoid(w_o @ h + b_o[:, None])
        delta_o = (output - target) * output * (1 - output) / target.size
        delta_i = w_o.T @ delta_o * h * (1 - h)
        return [(delta_i @ columns.T, delta_i.sum(1)), (delta_o @ h.T, delta_o.sum(1))]

    gradient = hand_written if by_hand else jax.grad(loss)

    def train_one(theta: Any, eta: Any) -> Any:
        def step(state: Any, _: Any) -> Any:
            theta, v = state
            v = jax.tree.map(lambda v, g: MOMENTUM * v + g, v, gradient(theta))
            return (jax.tree.map(lambda theta, v: theta - eta * v, theta, v), v), None

        return jax.lax.scan(step, (theta, jax.tree.map(jnp.zeros_like, theta)), length=steps)[0][0]

    theta = [(jnp.asarray(weight.numpy()), jnp.asarray(bias.numpy())) for weight, bias in stack]
    if isinstance(rates, float):  # one network needs no vmap
        one = jax.tree.map(lambda p: p[0], theta)
        run = jax.jit(train_one)
        return lambda: jax.block_until_ready(run(one, rates))
    runs, eta = jax.jit(jax.vmap(train_one)), jnp.asarray(rates.numpy())
    return lambda: jax.block_until_ready(runs(theta, eta))


def size_runs(max_networks: int, steps: int) -> dict[str, Run]:
    r"""Stacks of 100, 1,000 and so on."""
    x, y = problem()

    def run(m: int) -> Run:
        stack, epochs = init_stack((2, 4, 1), range(m)), max(24, 1000 * steps // m)
        options: dict[str, Any] = {"learning_rate": RATE, "momentum": MOMENTUM, "compile": can_compile()}
        return Run(lambda: train(stack, x, y, epochs=epochs, **options), m * epochs)

    sizes = [10**k for k in range(2, 9) if 10**k <= max_networks]
    return {f"{m:,} networks{', torch.compile' * can_compile()}": run(m) for m in sizes}


def can_compile() -> bool:
    return shutil.which("g++") is not None
