"""A figure read back: its pixels, what is written on it, and whether all of that can be seen."""

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

WIDTH, HEIGHT = 500, 400


def pixels(figure):
    """The figure, drawn once, (height, width, RGBA)."""
    if not isinstance(figure.canvas, FigureCanvasAgg):
        FigureCanvasAgg(figure).draw()
    return np.asarray(figure.canvas.buffer_rgba())


def texts(figure):
    """All that is written on the figure and visible."""
    return [text for text in figure.findobj(mpl.text.Text) if text.get_text() and text.get_visible()]


def words(figure):
    """The same as strings."""
    return {text.get_text() for text in texts(figure)}


def assert_drawn_in_colours(figure, most=1.0):
    """There is ink of many colours, on no more than ``most`` of the figure, and some in each pair of axes."""
    image = pixels(figure)
    assert image.shape == (HEIGHT, WIDTH, 4)
    assert (image[..., 3] == 255).all()
    ink = (image[..., :3] < 250).any(-1)
    assert 0.02 < ink.mean() <= most
    assert len(np.unique(image.view(np.uint32))) > 50
    for axes in figure.axes:
        box = axes.get_window_extent()
        assert ink[HEIGHT - int(box.y1) + 2 : HEIGHT - int(box.y0) - 2, int(box.x0) + 2 : int(box.x1) - 2].any()


def assert_readable(figure):
    """Nothing written is cut off; 9 points at 80 dots an inch, for a figure 400 pixels wide, are 10 pixels."""
    pixels(figure)
    inner = {
        id(label)
        for axes in figure.axes
        for axis, view in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim()))
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not min(view) <= tick.get_loc() <= max(view)
    }  # numbers of ticks beyond the axes' ends, which are not drawn
    for text in texts(figure):
        if id(text) not in inner:
            assert text.get_fontsize() >= 9, text
            box = text.get_window_extent()
            assert box.x0 >= 0, text
            assert box.y0 >= 0, text
            assert box.x1 <= WIDTH, text
            assert box.y1 <= HEIGHT, text
