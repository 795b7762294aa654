"""What was typed, looked at before anything is composed or imported: every key, every value, each value of a sweep. Never imports torch."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Iterator
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fer.config import HEAD_WEIGHTS, NAMES_OF_GROUPS, allowed, bad_value, conf_dir, settings_of
from fer.errors import FerError

NOTHING = object()

OF_THIS_PROGRAM = {
    "hydra.mode": "type -m for a run of each choice",
    "hydra.run.dir": "nothing is written there; run_dir=FOLDER chooses where a run goes",
    "hydra.sweep.subdir": "the folders of a sweep's jobs are named by what differs between them, so that the same line finds them again; "
    "name=NAME chooses outputs/sweeps/NAME",
}
"""Settings of Hydra that this program makes itself, and what to type instead."""


def refuse_bad_overrides(argv: list[str], schema: type) -> list[Override]:
    """Looks at every typed key and value, each value of a sweep too, before anything is composed or imported.

    Returns:
        What was typed, parsed.

    Raises:
        FerError: names the keys that the schema lacks (each with the nearest one) or whose value it does not take.
    """
    known, rest = get_args_parser().parse_known_args(argv)
    _refuse_no_settings(known, rest)
    typed = OverridesParser.create().parse_overrides([*known.overrides, *rest])
    problems = [problem for override in typed if (problem := _problem(override, schema))]
    if problems:
        raise FerError("; ".join(problems))
    return typed


def _refuse_no_settings(known: argparse.Namespace, rest: list[str]) -> None:
    """Refuses words that are neither `key=value` nor an option of Hydra: it would answer with a page of help."""
    if known.package and not known.cfg:
        raise FerError("-p and --package say what of the settings --cfg shows: they are nothing without it")
    for word in (*rest, *known.overrides):
        if word.startswith("-"):
            raise FerError(f"{word}: settings have no dashes: {word.lstrip('-') if '=' in word else 'key=value'}")
        if word.startswith("~"):
            raise FerError(f"{word}: no setting can be taken away")
        if "=" not in word:
            raise FerError(f"{word}: settings are typed as key=value")


def _problem(override: Override, schema: type) -> str | None:
    """What is wrong with one word that was typed."""
    key, word = override.key_or_group, str(override.input_line)
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        return f"{word}: type the choices out, as in {key}=a,b"
    if override.is_sweep_override() and next(_values(override), NOTHING) is NOTHING:
        return f"{word}: holds no value to try: type the choices out, as in {key}=a,b"
    if key in HEAD_WEIGHTS and override.is_sweep_override() and 0 in _values(override):
        return f"{word}: 0 leaves a head out, and what is scored then is another score: sweep values above 0"
    if key in OF_THIS_PROGRAM:
        return f"{key}: {OF_THIS_PROGRAM[key]}"
    if (conf_dir() / key).is_dir():
        return f"{key}=null: leave it out" if None in _values(override) else None
    if key.split(".")[0].split("/")[0] == "hydra":
        return None
    known = dict(settings_of(schema))
    if key not in known:
        return _unknown(key, list(known))
    if key in (*NAMES_OF_GROUPS, "augment.name"):
        group, typed = key.split(".")[0], word.split("=", 1)[-1]
        return f"{key}: type {group}={typed}, which brings the settings that go with it"
    if nobody := next((each for each in _texts(override) if os.path.expanduser(each).startswith("~")), None):
        return f"{key}: {nobody}: there is no user of that name"
    raw = None if override.is_sweep_override() else word.split("=", 1)[-1]
    found = (problem for value in _values(override) for problem in _wrong_value(schema, key, value, known[key], raw))
    return next(found, None)


def _texts(override: Override) -> Iterator[str]:
    for value in _values(override):
        yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str))


def _unknown(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    group = f"{key.split('.')[0]}."
    siblings = [k for k in known if k.startswith(group)] or [k for k in known if "." not in k]
    return f"{key}: no such key{f'; did you mean {near[0]}?' if near else ''} (known: {', '.join(siblings)})"


def _values(override: Override) -> Iterator[Any]:
    if override.is_sweep_override():
        yield from override.sweep_iterator() if override.is_choice_sweep() or override.is_range_sweep() else ()
    else:
        yield override.value()


def _wrong_value(schema: type, key: str, value: Any, limits: Any, raw: str | None) -> Iterator[str]:
    if isinstance(value, str) and "${" in value:
        return  # only composition can tell what it stands for
    try:
        cfg = OmegaConf.structured(schema)
        OmegaConf.update(cfg, key, value)
        found = OmegaConf.select(cfg, key)
        yield from bad_value(OmegaConf.to_object(found) if OmegaConf.is_config(found) else found, key, limits)
        if isinstance(found, str) and found != raw and not isinstance(value, str) and raw is not None:
            yield f"{key}={raw} reads as {found}: quote it twice, \"{key}='{raw}'\""
    except OmegaConfBaseException as error:
        what = allowed(schema, key)
        got = "null" if value is None else value
        yield f"{key} must be {what}; got {got}" if what else f"{key}: {str(error).splitlines()[0]}"
