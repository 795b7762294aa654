"""Figures as inline SVG text: the placeholder colours to draw with, which become the colours of the page, light or dark."""

from __future__ import annotations

import io
import re
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

INK, FAINT, FIRST, SECOND, CARD = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f"
_CSS = {INK: "var(--ink)", FAINT: "var(--faint)", FIRST: "var(--first)", SECOND: "var(--second)", CARD: "var(--card)"}
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fer",
    "font.size": 9,
    "text.parse_math": False,  # names of runs and settings may hold a $
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "lines.linewidth": 1.5,
}
"""For `matplotlib.style.context`."""


def svg(figure: Figure) -> Markup:
    """The figure as an `<svg>` element without a size, ids or fonts of its own: several share one page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(<svg [^>]*?)width="[^"]*" height="[^"]*"', r"\1", text, count=1)  # the page decides the size
    text = re.sub(r' id="[a-z2]*(\.axis)?_\d+"', "", text)
    text = re.sub(r"font-family: [^;]*; ", "", text)
    for placeholder, variable in _CSS.items():
        text = text.replace(placeholder, variable)
    return Markup(text)
