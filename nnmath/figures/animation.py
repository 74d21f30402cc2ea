r"""Figures as the frames of an animated GIF."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MILLISECONDS, LAST = 150, 2000  # that a frame is shown, and the last one before the animation starts again


def save_animation(frames: Iterable[NDArray[np.uint8]], path: Path) -> None:
    r"""Writes pixels (height, width, RGB) as an animated GIF, which browsers and slides show in a loop.

    Raises:
        OSError: the file cannot be written.
    """
    images = [Image.fromarray(pixels).quantize(128) for pixels in frames]
    durations = [MILLISECONDS] * (len(images) - 1) + [LAST]
    path.parent.mkdir(parents=True, exist_ok=True)
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0)
