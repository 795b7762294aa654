"""Drawn faces with known action units: single pictures (`draw_face`), and whole CK+ trees (`write_tree`, `cached_tree`).

Everything is made from numbers (a head of points, movements of action units, light, a camera); no photograph is used.
"""

from fer.data.synthetic.cast import fits, plan
from fer.data.synthetic.expression import SUPPORTED_AUS, drivers
from fer.data.synthetic.fresh import FreshFace, fresh_face
from fer.data.synthetic.head import make_head
from fer.data.synthetic.identity import Identity, sample_identity
from fer.data.synthetic.render import Drawing, draw_face, render
from fer.data.synthetic.tree import cached_tree, write_tree
from fer.data.synthetic.view import View, jitter, sample_view

__all__ = [
    "SUPPORTED_AUS",
    "Drawing",
    "FreshFace",
    "Identity",
    "View",
    "cached_tree",
    "draw_face",
    "drivers",
    "fits",
    "fresh_face",
    "jitter",
    "make_head",
    "plan",
    "render",
    "sample_identity",
    "sample_view",
    "write_tree",
]
