r"""Haberman's survival data as the author's notebook prepares them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

URL = "https://raw.githubusercontent.com/jbrownlee/Datasets/master/haberman.csv"


SHA256 = "b4b7a32586a5668f9f4d6dc8be9d1bc8cd4822523affb1f6b5bfc350681ef3e2"


class Split(NamedTuple):
    r"""Some of the rows, as columns."""

    x: Tensor
    r"""(3, n)"""
    y: Tensor
    r"""(1, n): 1 survived five years or longer, 0 did not"""


class Data(NamedTuple):
    r"""The 306 rows in file order."""

    train: Split
    r"""rows 0 to 265"""
    val: Split
    r"""rows 266 to 285"""
    test: Split
    r"""rows 286 to 305"""

    @property
    def all_rows(self) -> Split:
        r"""All rows."""
        return Split(torch.cat([part.x for part in self], 1), torch.cat([part.y for part in self], 1))


def download(folder: str | os.PathLike[str] | None = None) -> Path:
    r"""Haberman's survival data, from the web or from where they were put before; their SHA-256 is checked.

    Args:
        folder: where to put them; None for scikit-learn's own folder.

    Raises:
        OSError: there is no network, no such file any more, or its bytes are others.
    """
    from sklearn.datasets import fetch_file

    return Path(fetch_file(URL, folder=folder, sha256=SHA256, n_retries=0))


def read(path: str | os.PathLike[str]) -> Data:
    r"""The data as the notebook prepares them.

    The status 2 becomes 0, the number of nodes its square root, and each feature is divided by its maximum.

    Args:
        path: a CSV file of 306 rows without a header: age, year of operation, positive nodes, survival status.

    Raises:
        ValueError: it cannot be read, or is another file.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest() != SHA256:
        raise ValueError(f"{path} is not haberman.csv of 306 rows as the notebook read it: its SHA-256 is another")
    rows = np.array([line.split(",") for line in content.decode("ascii").split()], dtype=float)
    features, status = rows[:, :3], rows[:, 3]
    features[:, 2] = np.sqrt(features[:, 2])
    x = torch.from_numpy(features / features.max(0)).mT.contiguous()  # (3, 306)
    y = torch.from_numpy((status == 1).astype(float))[None]  # (1, 306)
    cuts = slice(0, 266), slice(266, 286), slice(286, 306)
    return Data(*(Split(x[:, cut].contiguous(), y[:, cut].contiguous()) for cut in cuts))
