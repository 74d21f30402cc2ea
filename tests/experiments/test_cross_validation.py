import math
import os

import pytest
import torch
from sklearn.metrics import accuracy_score, mean_squared_error

from nnmath.experiments import cross_validation as cv
from nnmath.experiments.haberman import Data, Split, load

HABERMAN = os.environ.get("HABERMAN_CSV")


def random_data(learnable):
    """As many rows and survivors as in the real data, in another order."""
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(3, 306, generator=generator, dtype=torch.float64)
    rank = (x[0] + x[1] if learnable else torch.rand(306, generator=generator)).argsort()
    y = torch.zeros(1, 306, dtype=torch.float64)
    y[0, rank[81:]] = 1
    cuts = slice(0, 266), slice(266, 286), slice(286, 306)
    return Data(*(Split(x[:, cut], y[:, cut]) for cut in cuts))


def test_scores_are_those_of_scikit_learn():
    output, target = torch.rand(4, 1, 30), torch.randint(2, (4, 1, 30)).float()
    result = cv.scores("any", output, target)
    for i in range(4):
        assert float(result.mse[i]) == pytest.approx(mean_squared_error(target[i, 0], output[i, 0]) / 2)
        assert float(result.accuracy[i]) == pytest.approx(accuracy_score(target[i, 0], output[i, 0] > 0.5))


def test_standard_error_of_the_gain_is_that_of_nadeau_and_bengio():
    a, b = (cv.Scores("", torch.zeros(4), torch.tensor(values)) for values in ([0.9, 0.7, 0.8, 0.8], [0.5] * 4))
    gain, uncertainty = a.gain(b, test_share=1 / 5)
    assert gain == pytest.approx(0.3)
    variance = (0.1**2 + 0.1**2) / 3
    assert uncertainty == pytest.approx(math.sqrt(variance * (1 / 4 + 1 / 4)))


@pytest.mark.parametrize("learnable", [True, False])
def test_only_a_learnable_target_beats_the_majority_class(learnable):
    recipe = cv.Recipe("quick", 300, {"learning_rate": 3.0, "momentum": 0.9, "schedule": "cosine"})
    majority, prior, result = cv.cross_validate(random_data(learnable), [recipe], repeats=2)
    assert result.accuracy.shape == (2 * cv.FOLDS,)
    torch.testing.assert_close(majority.accuracy, torch.full_like(majority.accuracy, 25 / 34))
    torch.testing.assert_close(majority.mse, torch.full_like(majority.mse, 9 / 34 / 2))
    torch.testing.assert_close(prior.mse, torch.full_like(prior.mse, 25 * 9 / 34**2 / 2))
    gain, uncertainty = result.gain(majority)
    assert (gain > 5 * uncertainty) is learnable
    assert ("that is more than chance" in cv.verdict([majority, prior, result])) is learnable


def test_each_network_has_its_own_rows_and_seed():
    data = random_data(True)
    (recipe,) = cv.article_recipes(epochs=30, rates=(0.1,))
    flipped = Split(*(tensor.flip(1) for tensor in data.train))
    stacked = Split(*(torch.stack(pair) for pair in zip(data.train, flipped)))
    together = recipe.outputs(stacked, torch.stack([data.test.x, data.val.x]), seeds=[4, 5])
    assert together.shape == (2, 1, 20)
    for output, rows, test_x, seed in zip(together, (data.train, flipped), (data.test.x, data.val.x), (4, 5)):
        torch.testing.assert_close(output, recipe.outputs(rows, test_x, [seed])[0], rtol=1e-11, atol=0)


def test_training_and_test_rows_are_disjoint(monkeypatch):
    calls = []
    data = random_data(True)

    def outputs(recipe, train_split, test_x, seeds, progress):
        calls.append((train_split, test_x))
        return torch.zeros(len(test_x), 1, test_x.shape[-1], dtype=torch.float64)

    monkeypatch.setattr(cv.Recipe, "outputs", outputs)
    cv.cross_validate(data, [cv.NOTEBOOK_RECIPE], repeats=2)
    ((train_split, test_x),) = calls
    assert train_split.x.shape == (2 * cv.FOLDS, 3, 272)
    assert test_x.shape == (2 * cv.FOLDS, 3, 34)
    all_rows = {tuple(column) for column in data.all_rows.x.T.tolist()}
    for splits in zip(train_split.x, test_x, strict=True):
        train_rows, test_rows = ({tuple(column) for column in split.T.tolist()} for split in splits)
        assert not train_rows & test_rows
        assert train_rows | test_rows == all_rows


@pytest.mark.skipif(not HABERMAN, reason="HABERMAN_CSV does not name a copy of Haberman's survival data")
def test_on_the_notebooks_test_rows():
    data = load(HABERMAN)
    (notebook,) = cv.same_split(data, [cv.NOTEBOOK_RECIPE], seeds=[0])
    assert float(notebook.mse[0]) == pytest.approx(0.125, abs=1e-6)
    assert float(notebook.accuracy[0]) == 0.75  # that of the majority class: 15 of the 20 survive
    (article,) = cv.same_split(data, cv.article_recipes(epochs=500)[1:2], seeds=range(3))
    assert (article.mse < 0.1).all()
