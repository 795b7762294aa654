"""Names and orders of everything the network can say. Imports nothing: every other room may import it.

Tuple order is tensor order: column `k` of the emotion head is `EMOTION_SETS[name][k]`.
"""

AU_NAMES: dict[int, str] = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    11: "nasolabial deepener",
    12: "lip corner puller",
    13: "cheek puller",
    14: "dimpler",
    15: "lip corner depressor",
    16: "lower lip depressor",
    17: "chin raiser",
    18: "lip pucker",
    19: "tongue show",
    20: "lip stretcher",
    21: "neck tightener",
    22: "lip funneler",
    23: "lip tightener",
    24: "lip pressor",
    25: "lips part",
    26: "jaw drop",
    27: "mouth stretch",
    28: "lip suck",
    29: "jaw thrust",
    30: "jaw sideways",
    31: "jaw clencher",
    32: "lip bite",
    33: "cheek blow",
    34: "cheek puff",
    35: "cheek suck",
    36: "tongue bulge",
    37: "lip wipe",
    38: "nostril dilator",
    39: "nostril compressor",
    41: "lid droop",
    42: "slit",
    43: "eyes closed",
    44: "squint",
    45: "blink",
    46: "wink",
}
"""Facial Action Coding System: unit number -> plain name (Ekman, Friesen & Hager, 2002)."""

NEUTRAL = "neutral"
BASIC = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
HIGH_LEVEL = ("negative", "positive", "surprise")

EMOTION_SETS: dict[str, tuple[str, ...]] = {
    "high_level": HIGH_LEVEL,
    "high_level+neutral": (*HIGH_LEVEL, NEUTRAL),
    "basic": BASIC,
    "basic+neutral": (*BASIC, NEUTRAL),
}
"""The values of `data.emotions`, each with the classes of its emotion head in tensor order."""

BASIC_TO_HIGH_LEVEL: dict[str, str] = {
    "anger": "negative",
    "contempt": "negative",
    "disgust": "negative",
    "fear": "negative",
    "sadness": "negative",
    "happy": "positive",
    "surprise": "surprise",
}

EMOTION_CRITERIA: dict[str, tuple[tuple[int, ...], ...]] = {
    "anger": ((23, 24),),
    "disgust": ((9,), (10,)),
    "fear": ((1, 2, 4),),
    "happy": ((12,),),
    "sadness": ((1, 4, 15), (11,), (6, 15)),
    "surprise": ((1, 2), (5,)),
    "contempt": ((14,),),
}
"""Basic emotion -> combinations of units, each of which makes it (Lucey et al., CVPR workshops 2010, Table 2, in its order).

Two clauses ask for intensities: fear may do without AU4 if AU5 is at E, and it is no surprise if AU5 is above B.
"""

CKPLUS_EMOTION_CODES: dict[int, str] = {
    0: NEUTRAL,
    1: "anger",
    2: "contempt",
    3: "disgust",
    4: "fear",
    5: "happy",
    6: "sadness",
    7: "surprise",
}
"""The codes of the `Emotion/` files of CK+ (its ReadMe, 2010). 0 is defined there but never used."""

MISSING_TARGET = -1
"""What stands for a missing label in a tensor, of either head."""

_ALIASES: dict[str, str] = {
    "angry": "anger",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sad": "sadness",
    "surprised": "surprise",
    "contemptuous": "contempt",
}
_CANONICAL = frozenset((*BASIC, *HIGH_LEVEL, NEUTRAL))


def canonical_emotion(text: str) -> str | None:
    """The product's name for an emotion as data sets spell it (`Happiness` -> `happy`), or None if it is none."""
    word = text.strip().lower()
    word = _ALIASES.get(word, word)
    return word if word in _CANONICAL else None


def emotion_in_set(emotion: str, emotion_set: str) -> str | None:
    """A canonical emotion as a class of `emotion_set` (a key of `EMOTION_SETS`), or None where it has no place there.

    Basic emotions fold into the high-level ones; a high-level label can't be unfolded, so `negative` has no place in `basic`.
    """
    return emotion_among(emotion, EMOTION_SETS[emotion_set])


def emotion_among(emotion: str, classes: tuple[str, ...] | list[str]) -> str | None:
    """A canonical emotion as one of `classes`: itself, or the high-level one that it folds into, or None."""
    for name in (emotion, BASIC_TO_HIGH_LEVEL.get(emotion)):
        if name in classes:
            return name
    return None


def au_number(column: str) -> int | None:
    """12 for `AU12`, None for any other column name, `AU12_intensity` and units that FACS does not have among them."""
    digits = column[2:]
    if column[:2].upper() != "AU" or not digits.isdecimal():
        return None
    number = int(digits)
    return number if number in AU_NAMES else None


def au_meaning(column: str) -> str:
    """`lip corner puller` for `AU12`; empty for what is no unit."""
    number = au_number(column)
    return "" if number is None else AU_NAMES[number]
