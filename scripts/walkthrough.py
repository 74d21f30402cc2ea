r"""Shows the numbers of a sample, or of a few, in each equation of one update: python scripts/walkthrough.py --help."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

from nnmath.data.options import DataOptions, NetworkOptions, Seed
from nnmath.runtime.cli import Parser, echo, exit_on_error, load_yaml, usage_errors
from nnmath.runtime.errors import UsageError
from nnmath.runtime.files import newest_run

if TYPE_CHECKING:
    from torch import Tensor

    from nnmath.network import Network


def parse() -> Any:
    parser = Parser("Shows the numbers of a sample, or of a few, in each equation of one update.")
    parser.add_options(DataOptions, skip={"batch_size"})
    parser.add_options(NetworkOptions)
    which = "which of the training rows, counted from 0; several as 0 1 2"
    parser.add_argument("--sample", type=NonNegativeInt, nargs="+", default=[0], help=which)
    parser.add_argument("--run", help="folder of a run whose trained network and data to take, or last for the newest")
    parser.add_argument("--weights", help="a YAML file: layers, each with weight and bias; and x and y of samples")
    parser.add_argument("--learning_rate", type=PositiveFloat, default=0.5, help="η of the update")
    parser.add_argument("--after", type=NonNegativeInt, default=0, help="how many updates to make before the one shown")
    parser.add_argument("--fixed_biases", action="store_true", help="update the weights alone")
    parser.add_argument("--digits", type=PositiveInt, default=6, help="significant digits shown, at most 17")
    parser.add_argument("--seed", type=Seed, default=0, help="seed of the weights, the samples and the split")
    parser.add_argument("--log_dir", type=str, default="lightning_logs", help="folder of the runs, for last and --log")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--log", action="store_true", help="write it to TensorBoard's Text tab as well")
    values = parser.parse_args()
    if values.digits > 17:
        raise UsageError(f"digits must be at most 17, those of float64, got {values.digits}")
    if values.run and values.weights:
        raise UsageError("run and weights both give the weights: use one of them")
    words = {word.partition("=")[0].removeprefix("--").replace("-", "_") for word in sys.argv[1:] if word[:2] == "--"}
    names = {"seed", *(field.name for options in (DataOptions, NetworkOptions) for field in fields(options))}
    if values.run and words & names:
        raise UsageError(f"run gives the data and the network; omit --{', --'.join(sorted(words & names))}")
    return values


def read_weights(path: str, values: Any) -> "tuple[Network, Tensor | None, Tensor | None]":
    r"""The network of a YAML file, and x and y of its samples, in rows, if it has some."""
    with usage_errors(OSError, UnicodeDecodeError, message=f"weights: {path} cannot be read"):
        text = Path(path).read_text(encoding="utf-8")
    with usage_errors(yaml.YAMLError):
        content = load_yaml(text)

    import torch

    from nnmath.network import Network

    expected = "layers: [{weight: [[0.15, 0.2]], bias: [0.35]}, ...], x: [0.05, 0.1], y: [0.01]"
    with usage_errors(ValueError, TypeError, LookupError, RuntimeError, message=f"{path} must hold {expected}"):
        state = {}
        for k, layer in enumerate(content["layers"]):
            state[f"{2 * k}.weight"] = torch.tensor(layer["weight"], dtype=torch.float64)
            state[f"{2 * k}.bias"] = torch.tensor(layer["bias"], dtype=torch.float64)
        weights = [tensor for name, tensor in state.items() if name.endswith("weight")]
        sizes = [weights[0].shape[1], *(len(weight) for weight in weights)]
        network = Network(sizes, values.hidden, values.output or "sigmoid").double()
        network.load_state_dict(state)
        x, y = (torch.tensor(content[key], dtype=torch.float64) if key in content else None for key in ("x", "y"))
        numbers = [*state.values(), *(part for part in (x, y) if part is not None)]
        if (x is None) != (y is None) or not all(part.isfinite().all() for part in numbers):
            raise ValueError
        if x is not None and y is not None:
            x, y = torch.atleast_2d(x), torch.atleast_2d(y)
            if (x.shape, y.shape) != ((len(x), sizes[0]), (len(x), sizes[-1])) or not len(x):
                raise ValueError
    return network, x, y


def load(values: Any) -> "tuple[Network, Tensor, Tensor]":
    r"""The network, and x and y of the samples, in rows."""
    network = preprocessing = None
    options: Any = values
    seed = values.seed
    if values.weights:
        network, x, y = read_weights(values.weights, values)
        if x is not None and y is not None:
            return network, x, y
    elif values.run:
        from nnmath.training.options import TrainOptions, build_options
        from nnmath.training.predictor import load as load_run

        with usage_errors(OSError):
            folder = newest_run(values.log_dir) if values.run == "last" else Path(values.run)
        model = load_run(folder)
        network, preprocessing = model.network.double(), model.preprocessing
        of_run = Parser("")
        of_run.add_options(TrainOptions, skip={"compare"})
        config = folder / "config.yaml"
        if not config.exists():  # one of the two runs of a comparison
            config = folder.parent / "config.yaml"
        options = build_options(of_run, of_run.parse_file(config))
        seed = options.seed
    with usage_errors():
        names = "dataset", "features", "target", "task", "missing", "samples", "noise", "split"
        dataset = DataOptions(**{name: getattr(options, name) for name in names}).load(seed)

    import torch

    from nnmath.data.datamodule import DataModule
    from nnmath.network import Network

    with usage_errors():
        data = DataModule(dataset, split=options.split, seed=seed, dtype=torch.float64, preprocessing=preprocessing)
        if network is None:
            layers = NetworkOptions(values.neurons, values.hidden, values.output)
            torch.manual_seed(seed)
            sizes = [len(data.features), *layers.hidden_sizes, data.preprocessing.outputs]
            network = Network(sizes, layers.hidden, layers.output_for(data)).double()
        x, y = data.train.tensors
        if max(values.sample) >= len(x) or len(set(values.sample)) < len(values.sample):
            got = " ".join(map(str, values.sample))
            raise ValueError(f"sample must be different numbers below the {len(x)} training rows, got {got}")
        if (x.shape[1], y.shape[1]) != (network.sizes[0], network.sizes[-1]):
            shape, features = "-".join(map(str, network.sizes)), f"{x.shape[1]} features"
            targets = f"{y.shape[1]} target{'s' * (y.shape[1] > 1)}"
            raise ValueError(f"{values.weights} has a network {shape}, but the data have {features} and {targets}")
    return network, x[values.sample], y[values.sample]


def main() -> None:
    values = parse()
    network, x, y = load(values)

    from nnmath.network import as_layers
    from nnmath.verification.walkthrough import train_on_samples, walkthrough

    (layers, activations), biases, rate = as_layers(network), not values.fixed_biases, values.learning_rate
    layers = train_on_samples(x.mT, y.mT, layers, activations, rate, values.after, biases)
    parts = walkthrough(x.mT, y.mT, layers, activations, rate, values.digits, biases)
    x_shown, y_shown = ("; ".join(as_text(row, values.digits) for row in part.tolist()) for part in (x, y))
    sizes = "-".join(map(str, network.sizes))
    which = f"one update after {values.after:,}" if values.after else "one update"
    title = f"{sizes}, {which}: x = {x_shown}; y = {y_shown}; η = {rate:g}"
    texts = {part: "\n".join(map(str, lines)) for part, lines in parts.items()}
    plain = "\n\n".join([title, *(f"{part}\n{text}" for part, text in texts.items())])
    markdown = {part: f"## {part}\n\n```text\n{text}\n```" for part, text in texts.items()}
    echo("\n\n".join([f"# {title}", *markdown.values()]) if values.markdown else plain)
    if values.log:
        log({"": title, **markdown}, values.log_dir)


def as_text(row: list[float], digits: int) -> str:
    return ", ".join(f"{value:.{digits}g}" for value in row)


def log(parts: dict[str, str], log_dir: str) -> None:
    r"""Write the walkthrough to TensorBoard's Text tab, as a run of its own with a card for each part."""
    from torch.utils.tensorboard import SummaryWriter

    from nnmath.runtime.files import log_errors, run_folder

    run = run_folder(log_dir, "walkthrough")
    with log_errors(run), SummaryWriter(str(run)) as writer:
        for k, (title, text) in enumerate(parts.items()):
            writer.add_text(f"walkthrough/{k:02}_{'_'.join(title.split())}".rstrip("_"), text)
    echo(f"run: {run}")


if __name__ == "__main__":
    with exit_on_error():
        main()
