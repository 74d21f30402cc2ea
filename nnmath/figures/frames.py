r"""A figure that is drawn again and again with other data."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nnmath.figures import style


class Frames:
    r"""Renders a figure; what does not change is drawn once, which takes most of the time.

    ``changing`` returns the artists that may have changed since the last frame, in the order in which they are drawn,
    over all others; by default nothing does.
    """

    def __init__(self, figure: Figure, changing: Callable[[], Sequence[Artist]] = list, dpi: int = style.DPI) -> None:
        figure.set_dpi(dpi)
        self.figure, self.changing = figure, changing
        self.background: Any = None  # is drawn anew if it is None

    def render(self) -> NDArray[np.uint8]:
        r"""The pixels of the figure as it is now, (height, width, RGB)."""
        canvas = FigureCanvasAgg(self.figure)
        if self.background is None:
            artists = self.changing()
            for artist in artists:
                artist.set_animated(True)  # canvas.draw leaves these out
            canvas.draw()
            for artist in artists:
                artist.set_animated(False)
            self.background = canvas.copy_from_bbox(self.figure.bbox)
        canvas.restore_region(self.background)
        for artist in self.changing():
            artist.draw(canvas.get_renderer())
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()
