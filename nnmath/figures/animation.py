r"""Figures as the frames of an animated GIF."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

DPI = 140  # dots per inch
MILLISECONDS, LAST = 150, 2000  # that a frame is shown, and the last one before the animation starts again


def save_animation(figures: Iterable[Figure], path: Path) -> None:
    r"""Writes figures of the same size as an animated GIF, which browsers and slides show in a loop.

    Raises:
        OSError: the file cannot be written.
    """
    frames = []
    for figure in figures:
        figure.set_dpi(DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(128))
    durations = [MILLISECONDS] * (len(frames) - 1) + [LAST]
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0)
