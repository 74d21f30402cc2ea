r"""What the article's own advice gives on its author's data: 1/n, momentum, cosine annealing, and is it any good.

The notebook tests on 20 rows, of which 5 died: one row more or less is 5 % of accuracy. Here the 306 rows are cut into
nine folds of 25 survivors and 9 deaths each, which take turns at being the test, and that is done over with other cuts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import torch
from sklearn.model_selection import RepeatedStratifiedKFold
from torch import Tensor

from nnmath.ensemble.stack import init_stack, train
from nnmath.equations import SIGMOID, Layer, error, forward
from nnmath.experiments.haberman import Data, Split
from nnmath.experiments.notebook import FINAL_EPOCHS, FINAL_RATE, SIZES, initial_layers

FOLDS = 9
r"""306 = 9 · 34, 225 survivors = 9 · 25, 81 deaths = 9 · 9: all folds are of one size, and so are one stack."""


@dataclass(frozen=True)
class Recipe:
    r"""A way to train the network 3-5-1."""

    name: str
    epochs: int
    options: dict[str, Any] = field(default_factory=dict)
    r"""of :func:`~nnmath.ensemble.stack.train`"""
    starts_as_the_notebook: bool = False

    def layers(self, seeds: Sequence[int]) -> list[Layer]:
        r"""The networks that it starts from: the notebook's, or torch's for each seed."""
        if not self.starts_as_the_notebook:
            return init_stack(SIZES, seeds, torch.float64)
        return [Layer(w.expand(len(seeds), -1, -1), b.expand(len(seeds), -1)) for w, b in initial_layers()]

    def without_rate(self) -> Recipe:
        r"""The same recipe at η = 0, under no name: what two of one stack have in common."""
        return replace(self, name="", options=self.options | {"learning_rate": 0.0})


def outputs(
    recipes: Iterable[Recipe], train_part: Split, test_x: Tensor, seeds: Sequence[int], progress: bool = False
) -> list[Tensor]:
    r"""O of the test rows, shape (M, 1, n), for each recipe after training a network for each seed.

    Recipes beside each other that differ in η alone are one stack.
    """
    found: list[Tensor] = []
    for recipe, group in groupby(recipes, Recipe.without_rate):
        rates = torch.tensor([each.options["learning_rate"] for each in group], dtype=torch.float64)

        def for_each(tensor: Tensor, k: int = len(rates)) -> Tensor:
            return tensor.repeat(k, *[1] * (tensor.ndim - 1))

        def samples(tensor: Tensor) -> Tensor:  # each network's own, or the same for all of them
            return for_each(tensor) if tensor.ndim == 3 else tensor

        layers = [Layer(for_each(w), for_each(b)) for w, b in recipe.layers(seeds)]
        options = recipe.options | {"learning_rate": rates.repeat_interleave(len(seeds))}
        trained = train(
            layers, *map(samples, train_part), epochs=recipe.epochs, record=[], progress=progress, **options
        )
        found.extend(forward(samples(test_x), trained.layers, (SIGMOID, SIGMOID))[-1].split(len(seeds)))
    return found


NOTEBOOKS = Recipe(
    f"the notebook's: summed, η = {FINAL_RATE}, {FINAL_EPOCHS} epochs",
    FINAL_EPOCHS,
    {"learning_rate": FINAL_RATE, "reduction": "sum"},
    starts_as_the_notebook=True,
)


def article_recipes(epochs: int = 2000, rates: Sequence[float] = (0.1, 0.3, 1.0, 3.0)) -> list[Recipe]:
    r"""The article's: gradients averaged, momentum 0.9, η falling along a cosine, from each of these rates."""
    options = {"momentum": 0.9, "schedule": "cosine"}
    return [
        Recipe(f"1/n, momentum 0.9, cosine from η = {eta:g}", epochs, options | {"learning_rate": eta}) for eta in rates
    ]


@dataclass(frozen=True)
class Scores:
    r"""How a predictor does on the test rows of each fold."""

    name: str
    mse: Tensor
    r"""1/(2n) Σ (O − y)², one for each fold of each repetition"""
    accuracy: Tensor
    r"""the share of rows that are on the right side of ½"""

    def gain(self, other: Scores, test_share: float = 1 / FOLDS) -> tuple[float, float]:
        r"""How much more accurate it is than another, and the standard error of that.

        The folds of one repetition share most of their training rows, so that their variance is no measure: it is
        enlarged by n_test/n_train.

        Source: C. Nadeau and Y. Bengio, "Inference for the generalization error" (2003).
        """
        difference = self.accuracy - other.accuracy
        spread = float(difference.var()) * (1 / len(difference) + test_share / (1 - test_share))
        return float(difference.mean()), math.sqrt(spread)


def scores(name: str, output: Tensor, target: Tensor) -> Scores:
    r"""Scores of outputs (M, 1, n) against targets of the same shape."""
    right = (output > 0.5) == (target > 0.5)
    return Scores(name, error(output, target), right.double().mean((-1, -2)))


def same_split(data: Data, recipes: Sequence[Recipe], seeds: Sequence[int] = range(10)) -> list[Scores]:
    r"""Every recipe on the notebook's own 20 test rows, a network for each seed."""
    found = outputs(recipes, data.train, data.test.x, seeds)
    return [scores(recipe.name, o, data.test.y.expand_as(o)) for recipe, o in zip(recipes, found, strict=True)]


def cross_validated(data: Data, recipes: Sequence[Recipe], repeats: int = 10, progress: bool = False) -> list[Scores]:
    r"""Every recipe on every fold, beside the two predictors that do not look at the features.

    The first of the scores is that of the majority class, which says that everybody survives; the second always gives
    the share of survivors among the training rows.

    Args:
        data: the notebook's.
        recipes: what to try.
        repeats: how often the rows are cut anew, which is also the seed of the networks that are trained on that cut.
        progress: whether to show a bar.
    """
    x, y = data.all_rows
    cuts = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=repeats, random_state=0).split(x.T, y[0])
    there, tested = (torch.stack([torch.from_numpy(rows) for rows in part]) for part in zip(*cuts, strict=True))
    train_part = Split(x[:, there].transpose(0, 1).contiguous(), y[:, there].transpose(0, 1).contiguous())  # (M, ·, n)
    test_x, test_y = (tensor[:, tested].transpose(0, 1).contiguous() for tensor in (x, y))
    seeds = [k // FOLDS for k in range(len(there))]
    prior = train_part.y.mean(-1, keepdim=True).expand_as(test_y)
    found = [scores("majority class: all survive", torch.ones_like(test_y), test_y)]
    found.append(scores("share of survivors, for everybody", prior, test_y))
    for recipe, output in zip(recipes, outputs(recipes, train_part, test_x, seeds, progress), strict=True):
        found.append(scores(recipe.name, output, test_y))
    return found
