import pytest
import torch
from helpers.figures import assert_drawn_in_colours, assert_readable, pixels, words

from nnmath.figures.confusion_matrix import confusion_matrix


def test_counts_each_pair_of_classes():
    true = torch.tensor([0, 0, 0, 1, 1, 2])
    figure = confusion_matrix(torch.tensor([0, 0, 1, 1, 2, 2]), true, ("setosa", "versicolor", "virginica"), epoch=3)
    (axes,) = figure.axes
    shown = {tuple(map(round, text.get_position())): text.get_text() for text in axes.texts}
    assert shown == {
        (0, 0): "2",
        (1, 0): "1",
        (2, 0): "0",
        (0, 1): "0",
        (1, 1): "1",
        (2, 1): "1",
        **dict.fromkeys([(0, 2), (1, 2)], "0"),
        (2, 2): "1",
    }
    assert words(figure) >= {"setosa", "versicolor", "virginica", "predicted", "true"}
    assert axes.get_title() == "confusion matrix, validation, epoch 3"
    assert axes.images[0].get_array()[0, 0] == pytest.approx(2 / 3)
    assert_drawn_in_colours(figure)
    assert_readable(figure)


@pytest.mark.parametrize("k", [10, 20, 21])
def test_many_classes(k):
    figure = confusion_matrix(torch.arange(k), torch.arange(k), [f"class number {i}" for i in range(k)])
    assert pixels(figure).std() > 0
    assert len(figure.axes[0].texts) == (100 if k == 10 else 0)
    assert ("class numb…" in words(figure)) == (k <= 20)
