"""Figures of an exploration: in, its tables; out, inline SVG text that takes its colours from the page."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.style import context
from matplotlib.ticker import MaxNLocator

from fer.results.svg import FIRST, INK, SECOND, STYLE, svg


def sizes(table: pd.DataFrame, image_size: int) -> Markup:
    """Width against height of the files, a dot as large as there are files of that size; dotted: the side of the network's input."""
    with context(STYLE):
        figure = Figure(figsize=(3.6, 2.6), layout="constrained")
        axes = figure.subplots()
        counts = table.groupby(["width", "height"]).size().reset_index(name="n")
        area = 12 + 120 * counts["n"] / counts["n"].max()
        axes.scatter(counts["width"], counts["height"], s=area, color=FIRST, alpha=0.5, linewidths=0, clip_on=False)
        axes.axvline(image_size, color=INK, linestyle=":", linewidth=0.8)
        axes.axhline(image_size, color=INK, linestyle=":", linewidth=0.8)
        across, down = (1.1 * max(counts[side].max(), image_size) for side in ("width", "height"))
        axes.set(xlabel="width", ylabel="height", xlim=(0, across), ylim=(0, down))
        axes.locator_params(nbins=5)
        return svg(figure)


def per_person(people: pd.DataFrame) -> Markup:
    """How many people have how many pictures."""
    with context(STYLE):
        figure = Figure(figsize=(3.6, 2.6), layout="constrained")
        axes = figure.subplots()
        most = int(people["pictures"].max())
        step = max(1, -(-most // 20))
        axes.hist(
            people["pictures"], [0.5 + edge for edge in range(0, most + step, step)], color=FIRST, alpha=0.7, rwidth=0.9
        )
        axes.set(xlabel="pictures of one person", ylabel="people")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        return svg(figure)


def face_sizes(sides: pd.Series, as_stored: float) -> Markup:
    """Sides of the face boxes in pixels; dashed: `as_stored`, below which a face is enlarged for the network."""
    with context(STYLE):
        figure = Figure(figsize=(3.6, 2.6), layout="constrained")
        axes = figure.subplots()
        axes.hist(sides, 30, color=FIRST, alpha=0.7)
        axes.axvline(as_stored, color=SECOND, linestyle="--", linewidth=1)
        axes.set(xlabel="side of the face box, pixels", ylabel="pictures", xlim=(0, None))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        return svg(figure)
