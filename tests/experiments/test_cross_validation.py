import math
import os

import pytest
import torch
from sklearn.metrics import accuracy_score, mean_squared_error

from nnmath.experiments.cross_validation import (
    FOLDS,
    NOTEBOOKS,
    Recipe,
    Scores,
    article_recipes,
    cross_validated,
    outputs,
    same_split,
    scores,
)
from nnmath.experiments.haberman import Data, Split, read

HABERMAN = os.environ.get("HABERMAN_CSV")


def drawn(learnable):
    """As many rows and survivors as the real data have, in an order of their own."""
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(3, 306, generator=generator, dtype=torch.float64)
    rank = (x[0] + x[1] if learnable else torch.rand(306, generator=generator)).argsort()
    y = torch.zeros(1, 306, dtype=torch.float64)
    y[0, rank[81:]] = 1
    cuts = slice(0, 266), slice(266, 286), slice(286, 306)
    return Data(*(Split(x[:, cut], y[:, cut]) for cut in cuts))


def test_scores_are_scikit_learns():
    output, target = torch.rand(4, 1, 30), torch.randint(2, (4, 1, 30)).float()
    found = scores("any", output, target)
    for i in range(4):
        assert float(found.mse[i]) == pytest.approx(mean_squared_error(target[i, 0], output[i, 0]) / 2)
        assert float(found.accuracy[i]) == pytest.approx(accuracy_score(target[i, 0], output[i, 0] > 0.5))


def test_the_gains_error_is_nadeaus_and_bengios():
    a, b = (Scores("", torch.zeros(4), torch.tensor(values)) for values in ([0.9, 0.7, 0.8, 0.8], [0.5] * 4))
    gain, uncertain = a.gain(b, test_share=1 / 5)
    assert gain == pytest.approx(0.3)
    variance = (0.1**2 + 0.1**2) / 3
    assert uncertain == pytest.approx(math.sqrt(variance * (1 / 4 + 1 / 4)))


@pytest.mark.parametrize("learnable", [True, False])
def test_what_can_be_learned_beats_the_majority_class_and_noise_does_not(learnable):
    recipe = Recipe("quick", 300, {"learning_rate": 3.0, "momentum": 0.9, "schedule": "cosine"})
    majority, prior, found = cross_validated(drawn(learnable), [recipe], repeats=2)
    assert found.accuracy.shape == (2 * FOLDS,)
    torch.testing.assert_close(majority.accuracy, torch.full_like(majority.accuracy, 25 / 34))
    torch.testing.assert_close(majority.mse, torch.full_like(majority.mse, 9 / 34 / 2))
    torch.testing.assert_close(prior.mse, torch.full_like(prior.mse, 25 * 9 / 34**2 / 2))
    gain, uncertain = found.gain(majority)
    assert (gain > 5 * uncertain) is learnable


@pytest.mark.parametrize("own_rows", [False, True])
def test_recipes_of_one_stack_give_what_each_gives_alone(own_rows):
    data = drawn(True)
    train_part, test_x = data.train, data.test.x
    if own_rows:  # of each network, as in the cross-validation
        train_part = Split(*(torch.stack([tensor, tensor.flip(1)]) for tensor in train_part))
        test_x = torch.stack([test_x, test_x.flip(1)])
    other = Recipe("other", 40, {"learning_rate": 0.02, "reduction": "sum"}, starts_as_the_notebook=True)
    recipes = [other, *article_recipes(epochs=30, rates=(0.1, 3.0)), other, *article_recipes(epochs=31, rates=(1.0,))]
    together = outputs(recipes, train_part, test_x, seeds=[4, 5])
    assert [output.shape for output in together] == [(2, 1, 20)] * 5
    for recipe, output in zip(recipes, together):
        (alone,) = outputs([recipe], train_part, test_x, seeds=[4, 5])
        torch.testing.assert_close(output, alone, rtol=1e-11, atol=0)


def test_no_row_is_trained_on_and_tested_on(monkeypatch):
    seen = []
    data = drawn(True)

    def outputs(recipes, train_part, test_x, seeds, progress=False):
        seen.append((train_part, test_x))
        return [torch.zeros(len(test_x), 1, test_x.shape[-1], dtype=torch.float64)]

    monkeypatch.setattr("nnmath.experiments.cross_validation.outputs", outputs)
    cross_validated(data, [NOTEBOOKS], repeats=2)
    ((train_part, test_x),) = seen
    assert train_part.x.shape == (2 * FOLDS, 3, 272)
    assert test_x.shape == (2 * FOLDS, 3, 34)
    every = {tuple(column) for column in data.all_rows.x.T.tolist()}
    for trained, tested in zip(train_part.x, test_x, strict=True):
        columns = [{tuple(column) for column in part.T.tolist()} for part in (trained, tested)]
        assert not columns[0] & columns[1]
        assert columns[0] | columns[1] == every


@pytest.mark.skipif(not HABERMAN, reason="HABERMAN_CSV does not name a copy of Haberman's survival data")
def test_on_the_notebooks_own_split():
    data = read(HABERMAN)
    (theirs,) = same_split(data, [NOTEBOOKS], seeds=[0])
    assert float(theirs.mse[0]) == pytest.approx(0.125, abs=1e-6)
    assert float(theirs.accuracy[0]) == 0.75  # of the majority class: 15 of the 20 survive
    (ours,) = same_split(data, article_recipes(epochs=500)[1:2], seeds=range(3))
    assert (ours.mse < 0.1).all()
