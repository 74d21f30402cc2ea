r"""Command-line options that several scripts share: the data, and the network that learns from them.

Neither torch nor lightning is imported here, so that scripts can validate their options before importing them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from jsonargparse.typing import NonNegativeFloat, PositiveFloat, PositiveInt, restricted_number_type

if TYPE_CHECKING:
    from nnmath.data.dataset import Dataset

Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)])
Momentum = restricted_number_type("Momentum", float, [(">=", 0), ("<", 1)])
Activation = Literal["sigmoid", "tanh", "relu", "identity"]


@dataclass(frozen=True)
class DataOptions:
    r"""Which samples to learn from, and how they are split.

    Args:
        dataset: breast_cancer, xor, moons, circles, spirals, gaussians or a .csv file
        features: columns to learn from, as '[a, b]'; for breast_cancer and .csv
        target: column to predict; for .csv
        samples: how many samples to draw; for xor to gaussians
        noise: how much noise to add to them
        split: shares of training, validation and test rows
        batch_size: rows of a batch, over all devices; all rows by default
    """

    dataset: str = "breast_cancer"
    features: list[str] | None = None
    target: str | None = None
    samples: PositiveInt = 400
    noise: NonNegativeFloat = 0.1
    split: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.6, 0.2, 0.2)
    batch_size: PositiveInt | None = None

    def load(self, seed: int) -> Dataset:
        r"""Load or draw the samples; raise ValueError if the options contradict each other or the file is invalid."""
        from nnmath.data.datasets import load

        return load(self.dataset, self.features, self.target, self.samples, self.noise, seed)


@dataclass(frozen=True)
class NetworkOptions:
    r"""The layers of the network.

    Args:
        neurons: neurons of the hidden layers, as 4 or '[8, 8]'; '[]' for no hidden layer
        hidden: activation of the hidden layers: sigmoid, tanh, relu or identity
        output: activation of the last layer, one of the same
    """

    neurons: PositiveInt | list[PositiveInt] = 4
    hidden: Activation = "sigmoid"
    output: Activation = "sigmoid"

    @property
    def hidden_sizes(self) -> list[int]:
        r"""The number of neurons of each hidden layer."""
        return [self.neurons] if isinstance(self.neurons, int) else list(self.neurons)

    def check_output(self, dataset: Dataset) -> None:
        r"""Raise ValueError if the target is a number, not a class, and the output activation is not the identity."""
        if dataset.classes is None and self.output != "identity":
            raise ValueError(f"target {dataset.target!r} is a number, not one of two classes: add --output identity")
