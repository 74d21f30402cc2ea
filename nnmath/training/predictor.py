r"""A trained network that can be used: raw features in, predictions out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nnmath.data.preprocessing import Preprocessing
from nnmath.network import Network
from nnmath.runtime.errors import UsageError
from nnmath.training.checkpoint_file import load_untrusted


def load(run: str | Path) -> "Predictor":
    r"""Load the best network of a run, with its preprocessing.

    Args:
        run: the run's folder, or a checkpoint.

    Raises:
        UsageError: there is no such run, it is a comparison of two, or its checkpoint cannot be read.
    """
    path = Path(run)
    if (path / "manual").is_dir():
        raise UsageError(f"{path} is a comparison of two runs: use {path / 'manual'} or {path / 'autograd'}")
    if path.is_dir() or not path.suffix:
        path = path / "checkpoints" / "best.ckpt"
    with load_untrusted(path) as checkpoint:
        parameters = checkpoint["hyper_parameters"]
        network = Network(parameters["sizes"], parameters["hidden"], parameters["output"], backward="autograd")
        weights = {name.removeprefix("network."): tensor for name, tensor in checkpoint["state_dict"].items()}
        network.to(next(iter(weights.values())).dtype).load_state_dict(weights)
        state = {name: value for name, value in checkpoint["DataModule"].items() if name != "fingerprints"}
        return Predictor(network, Preprocessing.from_state_dict(state))


class Predictor(nn.Module):
    r"""A network, and what its inputs and outputs mean.

    Called with features (n, k) in float64, it returns the predictions of a regression (n,), in the target's unit, or
    the probability of each class (n, K). A category is the index of its level in ``preprocessing.levels``. A network
    that is trained by the squared error estimates these probabilities; those of more than two classes need not add up
    to 1.

    Args:
        network: the trained network.
        preprocessing: that of its run.
    """

    x_mean: Tensor
    x_std: Tensor

    def __init__(self, network: Network, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network, self.preprocessing = network.eval().requires_grad_(False), preprocessing
        self.register_buffer("x_mean", torch.tensor(preprocessing.x_mean, dtype=torch.float64))
        self.register_buffer("x_std", torch.tensor(preprocessing.x_std, dtype=torch.float64))

    @property
    def classes(self) -> tuple[str, ...] | None:
        r"""The names of the classes; None for a regression."""
        return self.preprocessing.classes

    def forward(self, x: Tensor) -> Tensor:
        p, columns = self.preprocessing, []
        for j, (levels, fill) in enumerate(zip(p.levels, p.fill, strict=True)):
            column = x[:, j : j + 1]
            column = column if fill is None else torch.where(column.isnan(), fill, column)
            if levels is not None:
                column = torch.where(column.isnan(), column, (column == torch.arange(len(levels))).to(x.dtype))
            columns.append(column)
        standardised = (torch.cat(columns, 1) - self.x_mean) / self.x_std
        output: Tensor = self.network(standardised.to(self.network.linears[0].weight.dtype))
        if p.classes is None:
            return output[:, 0].double() * p.y_std + p.y_mean
        return output if p.outputs > 1 else torch.cat([1 - output, output], 1)

    def predict(self, rows: Any) -> NDArray[Any]:
        r"""The predictions: numbers in the target's unit, or the names of the classes.

        Args:
            rows: a DataFrame with the features' columns, in any order, or an array, tensor or list of them (n, k). A
                category is given by its level. A row with a missing value has the prediction nan, or None of a class,
                unless the run was trained with ``missing="mean"``.

        Raises:
            ValueError: a feature is not there, not a number, or a level that occurs in no training row.
        """
        scores = self.predict_proba(rows) if self.classes else self(self.features(rows)).numpy()
        return self.choose(scores)

    def choose(self, scores: NDArray[Any]) -> NDArray[Any]:
        r"""The class of the largest probability in each row; the predictions of a regression as they are."""
        if self.classes is None:
            return scores
        names = np.array([*self.classes, None], dtype=object)
        return names[np.where(np.isnan(scores).any(1), len(self.classes), np.nan_to_num(scores).argmax(1))]

    def predict_proba(self, rows: Any) -> NDArray[Any]:
        r"""The probability of each class (n, K); ValueError for a regression. ``rows`` as for :meth:`predict`."""
        if self.classes is None:
            raise ValueError(f"{self.preprocessing.target!r} is a number: it has no classes, use predict")
        probabilities: NDArray[Any] = self(self.features(rows)).numpy()
        return probabilities

    def features(self, rows: Any) -> Tensor:
        r"""The features (n, k) in float64, a category as the index of its level."""
        import pandas as pd

        p = self.preprocessing
        if isinstance(rows, pd.DataFrame):
            table = rows
            if absent := [name for name in p.features if name not in table.columns]:
                names = ", ".join(map(str, table.columns))
                raise ValueError(f"rows has no column {absent[0]!r}; its columns are {names}")
        else:
            array = rows.detach().cpu().numpy() if isinstance(rows, Tensor) else np.asarray(rows, dtype=object)
            if array.ndim != 2 or array.shape[1] != len(p.features):
                columns = f"{len(p.features)} columns, {', '.join(p.features)}"
                raise ValueError(f"rows must be a table of {columns}, got shape {array.shape}")
            table = pd.DataFrame(array, columns=list(p.features))
        values = [known_column(table[name], levels) for name, levels in zip(p.features, p.levels, strict=True)]
        return torch.from_numpy(np.stack(values, axis=1))

    def export(self, path: str | Path) -> None:
        r"""Write the network with its preprocessing as a torch.export program, which runs without nnmath.

        ``torch.export.load(path).module()(x)`` returns what calling this object returns. The names of the features, the
        levels of categories and the classes are in the program's extra file ``columns.json``.
        """
        k = len(self.preprocessing.features)
        batch = {"x": {0: torch.export.Dim("rows", min=1)}}
        program = torch.export.export(self, (torch.zeros(2, k, dtype=torch.float64),), dynamic_shapes=batch)
        names = {name: getattr(self.preprocessing, name) for name in ("features", "levels", "target", "classes")}
        torch.export.save(program, str(path), extra_files={"columns.json": json.dumps(names)})


def known_column(column: Any, levels: Sequence[str] | None) -> NDArray[np.float64]:
    r"""A column of numbers, or the indices of its levels; ValueError if a value is neither."""
    import pandas as pd

    missing = column.isna().to_numpy()
    if levels is None:
        numbers = np.array(pd.to_numeric(column, errors="coerce"), dtype=float)
        bad, expected = ~np.isfinite(numbers) & ~missing, "a finite number"
    else:
        index = {level: float(i) for i, level in enumerate(levels)}
        numbers = np.array([index.get(str(value).strip(), np.nan) for value in column])
        bad, expected = np.isnan(numbers) & ~missing, f"one of {', '.join(levels)}, as in the training rows"
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"row {row} of column {column.name!r} is {column.iloc[row]!r:.60}, expected {expected}")
    return np.where(missing, np.nan, numbers)
