"""Contact sheets and augmentation samples: in, the cached pixels of an exploration; out, strips of faces as `data:` addresses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from fer.config import AugmentConfig
from fer.data.augment import augmented_view, centre_view, changes_anything, epoch_draws
from fer.data.faces import view_of
from fer.data.images import Pixels8
from fer.results.exploration.explore import Exploration
from fer.results.thumbnails import thumbnail

N_AUGMENTED, N_VIEWS = 6, 7

Strip = list[str]


def face(pixels: Pixels8, image_size: int) -> str:
    """The evaluation view of one stored picture, [S, S, C], in a `data:` address."""
    return thumbnail(view_of(pixels, image_size))


def contact_sheet(found: Exploration, array: Pixels8, image_size: int, n: int, seed: int) -> dict[str, Strip]:
    """Stated emotion, then `AU<n>` -> `n` faces at most, of as many people as there are."""
    table = found.table
    groups = {str(name): table["stated"] == name for name in table["stated"].dropna().value_counts().index}
    groups |= {unit: table[unit] == 1 for unit in found.together.columns}
    if table["stated"].isna().any() and groups:
        groups = {**groups, "no emotion label": table["stated"].isna()}
    chosen = {name: _of_many_people(table[rows.fillna(False).astype(bool)], n, seed) for name, rows in groups.items()}
    return {name: [face(array[row], image_size) for row in rows["pixel"]] for name, rows in chosen.items()}


def _of_many_people(rows: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    shuffled = rows.sample(frac=1, random_state=seed)
    turn = shuffled.groupby("subject").cumcount()
    return shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")[:n]]


def pair_sheet(pairs: pd.DataFrame, found: Exploration, array: Pixels8, image_size: int) -> list[Strip]:
    """The two faces of each pair (`path`, `other_path`)."""
    pixel = found.table.set_index("path")["pixel"]
    columns = [pairs[name].map(pixel) for name in ("path", "other_path")]
    return [[face(array[row], image_size) for row in rows] for rows in zip(*columns, strict=True)]


def augmentation_sheet(
    found: Exploration, array: Pixels8, image_size: int, cfg: AugmentConfig, seed: int
) -> list[Strip]:
    """A few training pictures: the plain view, then as the network sees them in the first epochs; none if nothing changes them."""
    train = found.table[found.table["split"] == "train"].reset_index(drop=True)
    if not changes_anything(cfg) or train.empty:
        return []
    places = _of_many_people(train, N_AUGMENTED, seed).index.to_numpy()
    images = torch.from_numpy(np.stack([array[row] for row in train["pixel"][places]])).permute(0, 3, 1, 2)
    views = [centre_view(images, image_size)]
    for epoch in range(N_VIEWS):
        draws = torch.from_numpy(epoch_draws(seed, epoch, len(train))[places])
        views.append(augmented_view(images, draws, cfg, image_size))
    stored = [(view * 255).round().byte().permute(0, 2, 3, 1).numpy() for view in views]
    return [[thumbnail(view[place]) for view in stored] for place in range(len(places))]
