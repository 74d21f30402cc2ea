r"""Command-line options that several scripts share: the data, and the network that learns from them.

Neither torch nor lightning is imported here, so that scripts can validate their options before importing them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from jsonargparse.typing import NonNegativeFloat, PositiveFloat, PositiveInt, restricted_number_type

if TYPE_CHECKING:
    from nnmath.data.dataset import Dataset

Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)])
Momentum = restricted_number_type("Momentum", float, [(">=", 0), ("<", 1)])
Activation = Literal["sigmoid", "tanh", "relu", "identity"]


class HasTarget(Protocol):
    r"""A data set, or a module of its batches."""

    @property
    def target(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...] | None: ...


@dataclass(frozen=True)
class DataOptions:
    r"""Which samples to learn from, and how they are split.

    Args:
        dataset: a .csv file, or breast_cancer, iris, wine, digits, diabetes, xor, moons
        features: columns to learn from, as a,b; all of them by default
        target: column to predict; for .csv
        task: what whole numbers in the target are: classes or regression
        missing: missing values: refuse, drop their rows or mean
        samples: how many samples to draw; for xor to gaussians
        noise: how much noise to add to them
        split: shares of training, validation and test rows; all to use all rows for each of them
        batch_size: rows of a batch, over all devices; all rows by default
    """

    dataset: str = "breast_cancer"
    features: list[str] | None = None
    target: str = ""
    task: Literal["classes", "regression"] | None = None
    missing: Literal["refuse", "drop", "mean"] = "refuse"
    samples: PositiveInt = 400
    noise: NonNegativeFloat = 0.1
    split: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | Literal["all"] = (0.6, 0.2, 0.2)
    batch_size: PositiveInt | None = None

    def load(self, seed: int) -> Dataset:
        r"""Load or draw the samples; raise ValueError if the options contradict each other or the file is invalid."""
        from nnmath.data.datasets import load

        return load(self.dataset, self.features, self.target, self.samples, self.noise, seed, self.task, self.missing)

    def hyperparameters(self) -> dict[str, Any]:
        r"""The options that have an effect on the result; ``schedule`` is the cosine unless it is an option."""
        from nnmath.data.datasets import SYNTHETIC

        values = {"schedule": "cosine", **asdict(self)}
        unused = [] if self.dataset in SYNTHETIC else ["samples", "noise"]
        unused += ["eta_min"] if values["schedule"] == "constant" else []
        return {name: value for name, value in values.items() if name not in unused}


@dataclass(frozen=True)
class NetworkOptions:
    r"""The layers of the network.

    Args:
        neurons: sizes of the hidden layers, as 4 or 8,8; '[]' for none
        hidden: their activation: sigmoid, tanh, relu or identity
        output: activation of the last layer: sigmoid, for a regression identity
    """

    neurons: PositiveInt | list[PositiveInt] = 4
    hidden: Activation = "sigmoid"
    output: Activation | None = None

    def sizes(self, dataset: Dataset) -> list[int]:
        r"""The number of inputs, and of the neurons of each layer."""
        return [dataset.inputs, *self.hidden_sizes, dataset.outputs]

    @property
    def hidden_sizes(self) -> list[int]:
        r"""The number of neurons of each hidden layer."""
        return [self.neurons] if isinstance(self.neurons, int) else list(self.neurons)

    def output_for(self, data: HasTarget) -> Activation:
        r"""The activation of the last layer; ValueError if its range does not hold a standardised target."""
        if data.classes is not None:
            return self.output or "sigmoid"
        if self.output not in (None, "identity"):
            message = f"target {data.target!r} is a number, which {self.output} cannot give"
            raise ValueError(f"{message}: use --output identity, or --task classes")
        return "identity"
