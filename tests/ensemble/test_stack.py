import math
import os
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from helpers.runs import fit
from helpers.tolerances import relative_difference

from nnmath.data.batches import Batches
from nnmath.data.datamodule import DataModule
from nnmath.data.datasets import moons
from nnmath.ensemble import chunks
from nnmath.ensemble.stack import Interrupted, init_stack, repeat_network, train, unstack
from nnmath.equations import IDENTITY, RELU, SIGMOID, TANH, Layer, cosine_annealing, error, forward, zero_velocities
from nnmath.equations import training_step as step
from nnmath.network import Network
from nnmath.training.module import TrainingModule

MAX_DIFFERENCE = {torch.float64: 1e-12, torch.float32: 1e-5}
"""Difference between a stack and a single network, relative to the largest parameter, after some hundred epochs."""


def problem(dtype=torch.float64, n=40, n_in=2, n_out=1):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n_in, n, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.rand(n_out, n, generator=generator, dtype=torch.float64).to(dtype)


def train_single(layers, x, y, epochs, rate, momentum, activations=(SIGMOID, SIGMOID), reduction="mean"):
    """One network by repeated training_step; rate is a function of the epoch."""
    velocities = zero_velocities(layers)
    for t in range(epochs):
        layers, velocities = step(x, y, layers, velocities, activations, rate(t), momentum, reduction)
    return layers


def assert_equal_layers(layers, expected):
    for layer, other in zip(layers, expected, strict=True):
        for a, b in zip(layer, other, strict=True):
            assert relative_difference(a, b) <= MAX_DIFFERENCE[b.dtype]


def columns(rows):
    return [tensor.mT.contiguous() for tensor in rows.tensors]


class TestInitStack:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("sizes", [(2, 4, 1), (3, 5, 2, 7)])
    def test_equals_the_module_bitwise(self, sizes, dtype):
        stack = init_stack(sizes, seeds=[7, 0, 3], dtype=dtype)
        for i, seed in enumerate([7, 0, 3]):
            torch.manual_seed(seed)
            for layer, linear in zip(unstack(stack, i), Network(sizes, dtype=dtype).linears, strict=True):
                assert torch.equal(layer.weight, linear.weight)
                assert torch.equal(layer.bias, linear.bias)

    def test_does_not_touch_the_global_generator(self):
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        init_stack((2, 4, 1), range(5))
        assert torch.equal(torch.rand(3), expected)

    def test_refuses_no_seeds_and_no_layers(self):
        with pytest.raises(ValueError, match="seeds must have at least one"):
            init_stack((2, 4, 1), [])
        with pytest.raises(ValueError, match="sizes must be"):
            init_stack((2,), [0])


class TestNetworksAreIndependent:
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    @pytest.mark.parametrize("schedule", ["constant", "cosine"])
    def test_rate_and_momentum_per_network(self, dtype, schedule):
        x, y = problem(dtype)
        stack = init_stack((2, 4, 1), range(7), dtype)
        rates = torch.linspace(0.1, 3, 7, dtype=dtype)
        momenta = torch.linspace(0, 0.9, 7, dtype=dtype)
        trained = train(
            stack, x, y, epochs=150, learning_rate=rates, momentum=momenta, schedule=schedule, eta_min=0.01
        ).layers
        for i in range(7):

            def rate(t, i=i):
                eta = float(rates[i])
                return eta if schedule == "constant" else cosine_annealing(t, 150, eta, 0.01)

            assert_equal_layers(
                unstack(trained, i), train_single(unstack(stack, i), x, y, 150, rate, float(momenta[i]))
            )

    @pytest.mark.parametrize(
        ("sizes", "activations", "reduction"),
        [((3, 2), (TANH,), "mean"), ((3, 5, 4, 2), (TANH, RELU, IDENTITY), "sum"), ((3, 1, 2), (SIGMOID, TANH), "sum")],
        ids=["one layer", "three layers", "width 1"],
    )
    def test_any_sizes(self, sizes, activations, reduction):
        x, y = problem(n_in=3, n_out=2)
        stack = init_stack(sizes, range(5), torch.float64)
        options = {"activations": activations, "reduction": reduction}
        trained = train(stack, x, y, epochs=50, learning_rate=0.01, momentum=0.5, **options).layers
        for i in range(5):
            assert_equal_layers(
                unstack(trained, i), train_single(unstack(stack, i), x, y, 50, lambda t: 0.01, 0.5, **options)
            )

    def test_data_per_network(self):
        x, y = zip(*(problem(n_in=k + 2) for k in range(3)), strict=True)
        x = torch.stack([data[:2] for data in x])
        y = torch.stack([target.roll(k) for k, target in enumerate(y)])
        stack = init_stack((2, 4, 1), range(3), torch.float64)
        trained = train(stack, x, y, epochs=60, learning_rate=1.0, validation=(x.flip(0), y.flip(0)))
        for i in range(3):
            layers = train_single(unstack(stack, i), x[i], y[i], 60, lambda t: 1.0, 0.0)
            assert_equal_layers(unstack(trained.layers, i), layers)
            val_cost = error(forward(x[2 - i], layers, (SIGMOID, SIGMOID))[-1], y[2 - i])
            assert float(trained.val_cost[0, i]) == pytest.approx(float(val_cost), rel=1e-10)
        options = {"epochs": 5, "learning_rate": 1.0, "batches": Batches(40, 16, seed=1)}
        trained = train(stack, x, y, **options)
        for i in range(3):
            alone = train([Layer(*(p[i : i + 1] for p in layer)) for layer in stack], x[i], y[i], **options)
            assert_equal_layers(unstack(trained.layers, i), unstack(alone.layers, 0))

    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("m", [1, 2, 5, 64])
    def test_result_does_not_depend_on_the_chunks(self, monkeypatch, threads, m):
        monkeypatch.setattr(chunks, "CPU_CHUNK_BYTES", 3 * 7 * 40 * 8)  # three networks of 2-4-1 on 40 samples
        torch.set_num_threads(threads)
        x, y = problem()
        stack = init_stack((2, 4, 1), range(m), torch.float64)
        rates = torch.linspace(0.1, 3, m, dtype=torch.float64)
        trained = train(stack, x, y, epochs=20, learning_rate=rates, record=range(21), validation=(x, y))
        assert torch.get_num_threads() == threads
        assert trained.train_cost.shape == trained.val_cost.shape == (21, m)
        for i in range(m):
            layers = train_single(unstack(stack, i), x, y, 20, lambda t, i=i: float(rates[i]), 0.0)
            assert_equal_layers(unstack(trained.layers, i), layers)
        torch.testing.assert_close(trained.train_cost, trained.val_cost, rtol=1e-12, atol=0)

    def test_initial_stack_is_not_modified(self):
        x, y = problem()
        stack = init_stack((2, 4, 1), range(3), torch.float64)
        before = [tensor.clone() for layer in stack for tensor in layer]
        train(stack, x, y, epochs=5, learning_rate=1.0)
        assert all(map(torch.equal, before, [tensor for layer in stack for tensor in layer]))


@pytest.mark.parametrize("batch_size", [None, 32])
@pytest.mark.parametrize(("precision", "dtype"), [("64-true", torch.float64), ("32-true", torch.float32)])
def test_network_equals_lightning_run(tmp_path, batch_size, precision, dtype):
    data = DataModule(moons(samples=150), batch_size, seed=4, dtype=dtype)
    torch.manual_seed(4)
    module = TrainingModule(learning_rate=0.7, momentum=0.8, eta_min=0.05)
    trainer = fit(module, data, tmp_path, max_epochs=100, precision=precision)
    torch.manual_seed(4)
    start = TrainingModule().to(dtype).network.linears  # initialised in float32
    layers = [Layer(linear.weight.detach(), linear.bias.detach()) for linear in start]
    stack = repeat_network(layers, 2)
    trained = train(
        stack,
        *columns(data.train),
        epochs=100,
        learning_rate=torch.tensor([0.7, 0.1], dtype=dtype),
        momentum=0.8,
        schedule="cosine",
        eta_min=0.05,
        batches=None if batch_size is None else data.batches(),
        validation=columns(data.val),
    )
    expected = [Layer(linear.weight.detach(), linear.bias.detach()) for linear in module.network.linears]
    assert_equal_layers(unstack(trained.layers, 0), expected)
    assert float(trained.val_cost[0, 0]) == pytest.approx(float(trainer.callback_metrics["loss/val"]), rel=1e-5)


class TestRecord:
    def test_costs_after_given_epochs(self):
        x, y = problem()
        x_val, y_val = problem(n=11)
        stack = init_stack((2, 4, 1), range(4), torch.float64)
        options = {"learning_rate": 2.0, "validation": (x_val, y_val)}
        trained = train(stack, x, y, epochs=30, record=[30, 0, 7, 7], **options)
        assert trained.epochs == [0, 7, 30]
        assert trained.done == 30
        for row, epochs in enumerate(trained.epochs):
            layers = train(stack, x, y, epochs=epochs, **options).layers
            for cost, (inputs, target) in ((trained.train_cost, (x, y)), (trained.val_cost, (x_val, y_val))):
                output = forward(inputs, layers, (SIGMOID, SIGMOID))[-1]
                expected = error(output, target.expand_as(output))
                torch.testing.assert_close(cost[row], expected, rtol=1e-12, atol=0)

    def test_with_mini_batches_it_is_the_cost_of_all_samples(self):
        x, y = problem()
        stack = init_stack((2, 4, 1), range(2), torch.float64)
        trained = train(stack, x, y, epochs=3, learning_rate=1.0, batches=Batches(40, 16, seed=1), record=[0, 3])
        output = forward(x, stack, (SIGMOID, SIGMOID))[-1]
        torch.testing.assert_close(trained.train_cost[0], error(output, y.expand_as(output)), rtol=1e-12, atol=0)

    @pytest.mark.parametrize(("options", "epochs"), [({}, [4]), ({"record": []}, [])], ids=["by default", "none"])
    def test_last_epoch_or_none(self, options, epochs):
        trained = train(init_stack((2, 4, 1), [0], torch.float64), *problem(), epochs=4, learning_rate=1.0, **options)
        assert trained.epochs == epochs
        assert trained.train_cost.shape == (len(epochs), 1)
        assert trained.val_cost is None


def test_diverged_network_is_reported_and_does_not_affect_others():
    x, y = problem()
    stack = init_stack((2, 4, 1), [0, 0, 1, 1], torch.float64)
    rates = torch.tensor([0.1, 1e300, 0.2, 1e200], dtype=torch.float64)
    options = {"activations": (IDENTITY, IDENTITY), "record": [0, 50]}
    trained = train(stack, x, y, epochs=50, learning_rate=rates, **options)
    assert trained.diverged.tolist() == [False, True, False, True]
    assert not trained.train_cost[1, [1, 3]].isfinite().any()
    stable = [Layer(weight[[0, 2]], bias[[0, 2]]) for weight, bias in stack]
    expected = train(stable, x, y, epochs=50, learning_rate=rates[[0, 2]], **options)
    assert_equal_layers([Layer(w[[0, 2]], b[[0, 2]]) for w, b in trained.layers], expected.layers)


PROGRAM = """
import torch
from nnmath.ensemble import Interrupted, init_stack, train
x, y = torch.randn(2, 50), torch.rand(1, 50)
stack = init_stack((2, 4, 1), range(30))
try:
    print("ready", flush=True)
    train(stack, x, y, epochs=10**9, learning_rate=0.1, record=range(0, 10**6, 5))
except Interrupted as interrupt:
    trained = interrupt.trained
    layers = train(stack, x, y, epochs=trained.done, learning_rate=0.1).layers
    same = all(torch.allclose(a, b) for p, q in zip(layers, trained.layers) for a, b in zip(p, q))
    print(trained.done > 0, trained.epochs[-1] == trained.done, bool(trained.train_cost.isfinite().all()), same)
"""


def test_ctrl_c_keeps_the_epochs_done():
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1.5)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert out == "True True True True\n"


MEMORY_PROGRAM = """
import resource, torch
from nnmath.ensemble import init_stack, train
torch.set_num_threads(2)
x, y, stack = torch.randn(2, 266), torch.rand(1, 266), init_stack((2, 4, 1), range(30_000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
train(stack, x, y, epochs=12, learning_rate=0.1, momentum=0.9)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_peak_memory_does_not_grow_with_the_blocks_of_epochs():
    """30,000 networks need 4 MiB for the parameters and 2 × 1.5 MiB for the values of two chunks."""
    out = subprocess.run([sys.executable, "-c", MEMORY_PROGRAM], stdout=subprocess.PIPE, check=True, timeout=280).stdout
    assert int(out) / 1024 < 130


def test_error_in_a_chunk_is_raised_and_ctrl_c_restored(monkeypatch):
    monkeypatch.setattr(chunks.Chunk, "advance", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(init_stack((2, 4, 1), [0]), torch.zeros(2, 5), torch.zeros(1, 5), epochs=1, learning_rate=0.1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_training_in_another_thread_and_with_another_handler_of_ctrl_c():
    """Neither has a KeyboardInterrupt to turn into an end of the training."""
    arguments = init_stack((2, 4, 1), [0]), torch.zeros(2, 5), torch.zeros(1, 5)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(train, *arguments, epochs=3, learning_rate=0.1).result().done == 3
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        train(*arguments, epochs=1, learning_rate=0.1)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)


class TestChunks:
    def split(self, m, workers, x=None, validation=None, device="cpu"):
        plan = chunks.Plan(3, "constant", 0.0, (SIGMOID, SIGMOID), "mean", None, {0: 0})
        stack = [Layer(*(p.to(device) for p in layer)) for layer in init_stack((2, 4, 1), range(m), torch.float64)]
        x, y = (part.to(device) for part in (problem()[0] if x is None else x, problem()[1]))
        rates = torch.arange(m, dtype=torch.float64, device=device)
        return chunks.split(plan, stack, x, y, validation, rates, torch.zeros(m, device=device), workers)

    @pytest.mark.parametrize(
        ("networks_that_fit", "m", "workers", "sizes"),
        [(5, 20, 1, [5] * 4), (5, 20, 3, [4] * 5), (5, 2, 4, [1] * 2), (5, 21, 2, [4] * 6), (0.1, 3, 1, [1] * 3)],
    )
    def test_fit_the_cache_and_are_as_many_for_each_worker(self, monkeypatch, networks_that_fit, m, workers, sizes):
        monkeypatch.setattr(chunks, "CPU_CHUNK_BYTES", int(networks_that_fit * 7 * 40 * 8))  # 2-4-1 on 40 samples
        parts = self.split(m, workers)
        assert [len(part.momentum) for part in parts] == sizes
        networks = torch.cat([part.learning_rate for part in parts]).tolist()  # their numbers
        assert networks == [*range(m), *[m - 1] * (sum(sizes) - m)]

    def test_hold_the_validation_samples_too(self, monkeypatch):
        monkeypatch.setattr(chunks, "CPU_CHUNK_BYTES", 5 * 7 * 40 * 8)
        validation = torch.zeros(2, 90, dtype=torch.float64), torch.zeros(1, 90, dtype=torch.float64)
        assert len(self.split(20, 1, validation=validation)) == 10

    def test_hold_the_samples_of_their_own_networks(self, monkeypatch):
        monkeypatch.setattr(chunks, "CPU_CHUNK_BYTES", 2 * 7 * 40 * 8)
        x = torch.arange(5.0, dtype=torch.float64).reshape(5, 1, 1).expand(5, 2, 40)
        assert [part.x[:, 0, 0].tolist() for part in self.split(5, 1, x)] == [[0, 1], [2, 3], [4, 4]]

    def test_are_larger_on_other_devices(self, monkeypatch):
        monkeypatch.setattr(chunks, "GPU_CHUNK_BYTES", 10 * 7 * 40 * 8)
        assert [len(part.momentum) for part in self.split(20, 1, device="meta")] == [10, 10]

    @pytest.mark.parametrize(
        ("networks", "rows", "epochs", "per_call", "lengths"),
        [(1, 0, 9, 4, [1, 4]), (10, 0, 9, 2, [1, 2]), (30, 0, 9, 1, [1]), (1, 90, 9, 4, [1, 4]), (10, 90, 9, 1, [1])],
    )
    def test_small_ones_have_several_epochs_in_a_compiled_call(
        self, monkeypatch, networks, rows, epochs, per_call, lengths
    ):
        monkeypatch.setattr(chunks, "CPU_CHUNK_BYTES", 25 * 7 * 40 * 8)
        calls = []
        monkeypatch.setattr(chunks, "compiled_steps", lambda device: lambda *args: calls.append(len(args[3])))
        validation = (torch.zeros(2, rows).double(), torch.zeros(1, rows).double()) if rows else None
        (chunk,) = self.split(networks, 1, validation=validation) if networks < 20 else [self.split(25, 1)[0]]
        plan = chunk.plan
        plan.epochs = epochs
        chunks.compile_steps(plan, chunk)
        assert plan.epochs_per_call == per_call
        assert sorted(calls) == lengths

    def test_blocks_of_epochs_grow_to_half_a_second(self, monkeypatch):
        seconds = [0.0]
        monkeypatch.setattr(chunks, "time", SimpleNamespace(perf_counter=lambda: seconds[0]))

        class Chunk:
            def advance(self, source, start, stop, cancelled):
                seconds[0] += (stop - start) / 64

        done = []
        chunks.advance([Chunk()], 200, 1, 1, done.append)
        assert done == [1, 5, 21, 53, 85, 117, 149, 181, 200]


class TestCompile:
    def test_compiles_the_equations_once_without_graph_breaks(self, monkeypatch):
        """Several chunks in two threads; fullgraph=True would be the check, but it is not thread-safe."""
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        chunks.compiled_steps.cache_clear()
        monkeypatch.setattr(chunks, "CPU_CHUNK_BYTES", 4 * 3 * 7 * 40 * 4)  # 12 networks of 2-4-1 on 40 samples
        torch.set_num_threads(2)
        x, y = problem(torch.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # raised inside torch while it compiles
            train(init_stack((2, 4, 1), range(60)), x, y, epochs=5, learning_rate=0.1, compile=True)
        counters = torch._dynamo.utils.counters
        assert not counters["graph_break"]
        assert counters["stats"]["unique_graphs"] == 1
        chunks.compiled_steps.cache_clear()

    def test_equals_eager(self):
        x, y = problem(torch.float32)
        stack = init_stack((2, 4, 1), range(50))
        rates = torch.linspace(0.1, 3, 50)
        options = {"learning_rate": rates, "momentum": 0.9, "record": [0, 8, 13, 42], "schedule": "cosine"}
        validation = x[:, :9], y[:, :9]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # raised inside torch while it compiles
            compiled = train(stack, x, y, epochs=42, validation=validation, compile=True, **options)
            without_validation = train(stack, x, y, epochs=42, compile=True, **options)  # several epochs in one call
        eager = train(stack, x, y, epochs=42, validation=validation, **options)
        torch.testing.assert_close(compiled.val_cost, eager.val_cost, rtol=1e-5, atol=0)
        for trained in (compiled, without_validation):
            assert_equal_layers(trained.layers, eager.layers)
            torch.testing.assert_close(trained.train_cost, eager.train_cost, rtol=1e-5, atol=0)

    def test_epoch_groups(self):
        """Single epochs at the end, and where a recorded cost needs the layers inside a group."""
        plan = chunks.Plan(10, "constant", 0.0, (SIGMOID,), "mean", None, {0: 0, 6: 1, 8: 2}, epochs_per_call=4)
        groups = [range(4), range(4, 8), range(8, 9), range(9, 10)]
        singly = [range(t, t + 1) for t in range(4, 10)]
        assert list(plan.epoch_groups(0, 10, needs_layers=False)) == groups
        assert list(plan.epoch_groups(0, 10, needs_layers=True)) == [range(4), *singly]
        assert list(plan.epoch_groups(0, 8, needs_layers=False)) == groups[:2]

    def test_block_of_epochs_ends_between_calls(self):
        class Chunk:
            def advance(self, source, start, stop, cancelled):
                assert start % 4 == 0

        done = []
        assert chunks.advance([Chunk()], 11, 4, 1, done.append)[0] == 11
        assert done == [4, 8, 11]

    def test_without_compiler_warns_and_trains(self, tmp_path):
        program = (
            "import torch, warnings\nfrom nnmath.ensemble.stack import Interrupted, init_stack, train\n"
            "x, y = torch.randn(2, 50), torch.rand(1, 50)\n"
            "with warnings.catch_warnings(record=True) as caught:\n"
            "    warnings.simplefilter('always')\n"
            "    trained = train(init_stack((2, 4, 1), range(3)), x, y, epochs=3, learning_rate=0.1, compile=True)\n"
            "ours = [str(w.message) for w in caught if str(w.message).startswith('compile=True')]\n"
            "assert len(ours) == 1 and '\\n' not in ours[0], ours\n"
            "print(ours[0]); print(trained.train_cost.isfinite().all().item())\n"
        )
        environment = os.environ | {"CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
        process = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120
        )
        assert process.returncode == 0, process.stderr
        assert "torch.compile failed" in process.stdout
        assert process.stdout.endswith("training without it\nTrue\n")


class TestValidation:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"epochs": -1}, "epochs and record must be integers, record from 0 to epochs=-1, got -1"),
            ({"epochs": 2.5}, "epochs and record must be integers, .* got 2.5"),
            ({"learning_rate": -0.1}, r"learning_rate must lie in \[0, inf\), got -0.1"),
            ({"learning_rate": torch.tensor([0.1, math.nan, 0.1])}, r"learning_rate must lie in \[0, inf\), got nan"),
            ({"learning_rate": torch.zeros(2)}, r"must be a number or one per network, shape \(3,\), got \(2,\)"),
            ({"momentum": 1.0}, r"momentum must lie in \[0, 1.0\), got 1.0"),
            ({"schedule": "step"}, "schedule must be 'constant' or 'cosine', got 'step'"),
            ({"schedule": "cosine", "eta_min": 0.5}, "eta_min must not exceed the learning rate"),
            ({"activations": (SIGMOID,)}, "activations must be one for each of the 2 layers, got 1"),
            ({"record": [11]}, "epochs and record must be integers, record from 0 to epochs=10, got 11"),
            ({"record": [1.5]}, "epochs and record must be integers, .* got 1.5"),
            ({"eta_min": -0.1}, r"eta_min must lie in \[0, inf\), got eta_min=-0.1"),
            ({"batches": Batches(4, 2)}, "batches must be of the 5 samples, got batches.n=4"),
            ({"batches": Batches(5, 0)}, "batches must be of the 5 samples, .* batches.batch_size=0"),
            ({"layers": [Layer(torch.zeros(0, 4, 2), torch.zeros(0, 4))]}, "at least one network"),
            ({"reduction": "max"}, "reduction must be 'mean' or 'sum'"),
            ({"x": torch.zeros(3, 5)}, r"x must have shape \(2, 5\) or \(3, 2, 5\), .* got \(3, 5\)"),
            ({"x": torch.zeros(2, 0)}, r"x must have shape .* got \(2, 0\)"),
            ({"target": torch.zeros(5)}, r"target must have shape \(1, 5\)"),
            ({"target": torch.zeros(1, 4)}, r"target must have shape \(1, 5\) or .* got \(1, 4\)"),
            (
                {
                    "layers": [Layer(*(p.long() for p in layer)) for layer in init_stack((2, 4, 1), range(3))],
                    "x": torch.zeros(2, 5).long(),
                    "target": torch.zeros(1, 5).long(),
                },
                r"layers\[0\].weight must be floating point, .* got torch.int64",
            ),
            ({"x": torch.zeros(2, 5).double()}, "x must be .* torch.float32 on cpu, got torch.float64"),
            ({"validation": (torch.zeros(2, 5), torch.zeros(1, 4))}, r"validation target must have shape \(1, 5\)"),
            ({"layers": unstack(init_stack((2, 4, 1), [0]), 0)}, "layers must be a stack"),
            ({"layers": init_stack((2, 4, 1), range(3))[::-1]}, r"layers\[1\].weight must have shape \(3, 4, 1\)"),
        ],
    )
    def test_refuses_in_one_line(self, changes, message):
        arguments = {"layers": init_stack((2, 4, 1), range(3)), "x": torch.zeros(2, 5), "target": torch.zeros(1, 5)}
        arguments |= {"epochs": 10, "learning_rate": 0.1} | changes
        layers, x, target = (arguments.pop(name) for name in ("layers", "x", "target"))
        with pytest.raises(ValueError, match=message) as caught:
            train(layers, x, target, **arguments)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "options", [{"schedule": "cosine", "eta_min": 0.1}, {"batches": Batches(1, 1)}], ids=["constant", "one sample"]
    )
    def test_takes_the_least(self, options):
        """A cosine from η to η, and a sample, in batches of one and for the validation."""
        x, y = torch.zeros(2, 1), torch.zeros(1, 1)
        trained = train(init_stack((2, 4, 1), [0]), x, y, epochs=1, learning_rate=0.1, validation=(x, y), **options)
        assert trained.done == 1

    def test_interrupted_says_after_how_many_epochs(self):
        trained = train(init_stack((2, 4, 1), [0]), torch.zeros(2, 5), torch.zeros(1, 5), epochs=3, learning_rate=0.1)
        assert str(Interrupted(trained)) == "after 3 epochs"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_gpu_equals_cpu():
    x, y = problem()
    stack = init_stack((2, 4, 1), range(100), torch.float64)
    rates = torch.linspace(0.1, 3, 100, dtype=torch.float64)
    expected = train(stack, x, y, epochs=100, learning_rate=rates)
    gpu_stack = [Layer(weight.cuda(), bias.cuda()) for weight, bias in stack]
    trained = train(gpu_stack, x.cuda(), y.cuda(), epochs=100, learning_rate=rates.cuda())
    assert_equal_layers([Layer(weight.cpu(), bias.cpu()) for weight, bias in trained.layers], expected.layers)
