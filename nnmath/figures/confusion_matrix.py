r"""The confusion matrix of a network's classes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from nnmath.figures import style

MAX_CLASSES = 20  # with their names and numbers


def confusion_matrix(predicted: Tensor, true: Tensor, classes: Sequence[str], *, epoch: int | None = None) -> Figure:
    r"""How many samples of each class are predicted to be of each class: a row for each true class.

    The colour is the share of the row. With more than 20 classes, only the colours are drawn.

    Args:
        predicted: the indices of the predicted classes (n,).
        true: those of the true classes (n,).
        classes: the names of the classes.
        epoch: for the title.
    """
    k = len(classes)
    counts = np.zeros((k, k), dtype=int)
    np.add.at(counts, (true.cpu().numpy(), predicted.cpu().numpy()), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = style.fixed_margin_figure(left=0.24, bottom=0.26, right=0.97)
    axes = figure.add_subplot(xlabel="predicted", ylabel="true")
    axes.set_title(style.at_epoch("confusion matrix, validation", epoch), y=1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if k > MAX_CLASSES:
        axes.set(xticks=[], yticks=[])
        return figure
    names = [style.truncate(name, 11) for name in classes]
    axes.set_xticks(range(k), names, size=style.SMALL, rotation=0 if k <= 4 else 90)
    axes.set_yticks(range(k), names, size=style.SMALL)
    if k <= 10:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else style.BLACK
            axes.text(column, row, str(count), size=style.SMALL, ha="center", va="center", color=colour)
    return figure
