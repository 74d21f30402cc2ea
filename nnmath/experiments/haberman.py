r"""Haberman's survival data, prepared as in the author's notebook."""

import hashlib
import io
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

URL = "https://raw.githubusercontent.com/jbrownlee/Datasets/master/haberman.csv"
SHA256 = "b4b7a32586a5668f9f4d6dc8be9d1bc8cd4822523affb1f6b5bfc350681ef3e2"


class Split(NamedTuple):
    r"""Some of the rows, as columns."""

    x: Tensor  # (3, n)
    y: Tensor  # (1, n): 1 for five years of survival or more, else 0


class Data(NamedTuple):
    r"""The 306 rows in file order."""

    train: Split  # rows 0 to 265
    val: Split  # rows 266 to 285
    test: Split  # rows 286 to 305

    @property
    def all_rows(self) -> Split:
        r"""The three splits together."""
        return Split(*(torch.cat(tensors, 1) for tensors in zip(*self, strict=True)))


def load(path: str | os.PathLike[str] | None = None) -> Data:
    r"""The data, prepared as in the notebook.

    Status 2 becomes 0, the number of nodes becomes its square root, and each feature is divided by its maximum.

    Args:
        path: a CSV file of 306 rows without a header: age, year of operation, positive nodes, survival status. By
            default it is downloaded to scikit-learn's data folder, unless it is already there.

    Raises:
        ValueError: the file cannot be read, or is not this data set.
        OSError: the download failed.
    """
    if path is None:
        from sklearn.datasets import fetch_file

        try:
            with warnings.catch_warnings(action="ignore"):  # about a corrupt file that is downloaded again
                path = fetch_file(URL, sha256=SHA256, n_retries=0)
        except OSError as error:
            raise OSError(f"haberman.csv cannot be downloaded ({getattr(error, 'reason', None) or error})") from error
    try:
        content = Path(path).read_bytes().replace(b"\r\n", b"\n")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ValueError(f"{path} is not the notebook's haberman.csv of 306 rows: the SHA-256 differs")
    table = np.loadtxt(io.BytesIO(content), delimiter=",")  # (306, 4)
    features, status = table[:, :3], table[:, 3:]
    features[:, 2] = np.sqrt(features[:, 2])
    x, y = (torch.from_numpy(rows).mT for rows in (features / features.max(0), (status == 1).astype(float)))
    cuts = slice(0, 266), slice(266, 286), slice(286, 306)
    return Data(*(Split(x[:, cut].contiguous(), y[:, cut].contiguous()) for cut in cuts))
