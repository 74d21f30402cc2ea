r"""Metrics of a network's outputs, in float64 on the processor; each equals scikit-learn's."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

TASKS = ("regression", "binary", "multiclass")
NAMES: Mapping[str, tuple[str, ...]] = {
    "regression": ("r2", "mean_absolute_error"),
    "binary": ("accuracy", "auroc", "f1"),
    "multiclass": ("accuracy", "auroc", "f1"),
}


class Scores(Metric):
    r"""Collects outputs and targets, and computes a dictionary of metrics.

    - regression: R², and the mean absolute error in the target's unit;
    - binary: accuracy, AUROC and F1; an output above ½ is class 1;
    - multiclass: accuracy, macro F1 and one-against-rest AUROC; the class is that of the largest output.

    Args:
        task: one of these.
        y_std: the standard deviation of a regression's target, by which it was divided.

    Shape:
        output (n, out), target (n, out) as in training: standardised, 0 and 1, or one-hot.

    Raises:
        ValueError: the task is unknown.

    >>> scores = Scores("binary")
    >>> scores.update(torch.tensor([[0.2], [0.7], [0.4]]), torch.tensor([[0.0], [1.0], [1.0]]))
    >>> {name: round(value.item(), 3) for name, value in scores.compute().items()}
    {'accuracy': 0.667, 'auroc': 1.0, 'f1': 0.667}
    """

    full_state_update = False
    outputs: list[Tensor]
    targets: list[Tensor]

    def __init__(self, task: str, y_std: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        if task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
        self.task, self.y_std = task, y_std
        self.add_state("outputs", default=[], dist_reduce_fx="cat")
        self.add_state("targets", default=[], dist_reduce_fx="cat")

    def update(self, output: Tensor, target: Tensor) -> None:
        self.outputs.append(output.detach())
        self.targets.append(target)

    def compute(self) -> dict[str, Tensor]:
        output, target = (torch.cat(list(parts)).cpu().double() for parts in (self.outputs, self.targets))
        if self.task == "regression":
            error = mean_absolute_error(output, target) * self.y_std
            return {"r2": r2(output.flatten(), target.flatten()), "mean_absolute_error": error}
        if self.task == "binary":
            predicted, true = output.flatten() > 0.5, target.flatten() > 0.5
            scores = accuracy(predicted, true), auroc(output.flatten(), true), f1(predicted, true)
        else:
            predicted, true = output.argmax(1), target.argmax(1)
            present = torch.cat([predicted, true]).unique()
            one_against_rest = torch.stack([auroc(column, true == k) for k, column in enumerate(output.T)]).mean()
            macro_f1 = torch.stack([f1(predicted == k, true == k) for k in present]).mean()
            scores = accuracy(predicted, true), one_against_rest, macro_f1
        return dict(zip(NAMES[self.task], scores, strict=True))


def r2(output: Tensor, target: Tensor) -> Tensor:
    r"""R² = 1 − Σ (y − O)² / Σ (y − ȳ)²; of a constant target 1 for a perfect output, otherwise 0."""
    residual, total = ((target - output) ** 2).sum(), ((target - target.mean()) ** 2).sum()
    return 1 - residual / total if total else (residual == 0).double()


def mean_absolute_error(output: Tensor, target: Tensor) -> Tensor:
    r"""1/n Σ |y − O|."""
    return (target - output).abs().mean()


def accuracy(predicted: Tensor, true: Tensor) -> Tensor:
    r"""The share of samples whose class is predicted."""
    return (predicted == true).double().mean()


def f1(predicted: Tensor, true: Tensor) -> Tensor:
    r"""F1 = 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall; 0 if it is 0 / 0."""
    hits, all_positive = (predicted & true).sum(), predicted.sum() + true.sum()
    return 2 * hits.double() / all_positive.clamp(min=1)


def auroc(output: Tensor, true: Tensor) -> Tensor:
    r"""The probability that a positive's output exceeds a negative's, an equal one counted as ½; nan without both.

    AUROC = (R₁ − n₁ (n₁ + 1) / 2) / (n₁ n₀), where R₁ is the sum of the ranks of the n₁ positives, and equal outputs
    share the mean of their ranks.
    """
    _, inverse, counts = output.unique(return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0) - (counts - 1) / 2
    positives = true.sum().double()
    negatives = len(true) - positives
    rank_sum = ranks.double()[inverse][true].sum()
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def significant(value: float) -> str:
    r"""Four decimals, or four significant digits of a number that has fewer or many more.

    >>> significant(0.95614), significant(0.0000012345), significant(123456.7)
    ('0.9561', '1.234e-06', '1.235e+05')
    """
    return f"{value:.4f}" if value == 0 or 1e-2 <= abs(value) < 1e4 else f"{value:.4g}"
