"""Drawn faces with known action units: single pictures (`draw_face`), and whole CK+ trees (`write_tree`, `cached_tree`).

Everything is made from numbers (a head of points, movements of action units, light, a camera); no photograph is used.
"""

from fer.data.synthetic.cast import fits, plan
from fer.data.synthetic.expression import SUPPORTED_AUS
from fer.data.synthetic.fresh import FreshFace, fresh_face
from fer.data.synthetic.identity import sample_identity
from fer.data.synthetic.render import Drawing, draw_face, render
from fer.data.synthetic.tree import cached_tree, write_tree
from fer.data.synthetic.view import sample_view
