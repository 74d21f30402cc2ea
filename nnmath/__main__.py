r"""``python -m nnmath`` prints what there is."""

from nnmath.runtime.cli import echo

OVERVIEW = """\
The mathematics of a neural network, coded by hand and checked against autograd.

In a clone of the repository; each has --help:
  python scripts/walkthrough.py            The numbers of one sample in each equation
  python scripts/lesson.py                 The article in ten cells, and four exercises
  python scripts/check_gradients.py        Is the mathematics right? Is my gradient right? (--file)
  python scripts/train.py                  Train a network, on your data too, and log it to TensorBoard
  python scripts/predict.py                Use a trained network on a CSV file, or export it
  python scripts/sweep.py                  Train thousands of networks at once
  python scripts/experiments.py            Is the article right?
  python scripts/reproduce_notebook.py     The figures of the author's notebook
  python scripts/benchmark.py              How fast is it?

In Python:
  nnmath.equations                         the article's equations
  nnmath.gradcheck                         check_backward, check_gradients, check_function, check_module
  nnmath.training.load(run)                a trained network: predict(DataFrame)"""

if __name__ == "__main__":
    echo(OVERVIEW)
