"""One setting: a dataclass field with its meaning and its limits, and what can be done with a schema of them. Never imports torch."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fer.errors import FerError, first_line
from fer.labels import AU_NAMES

_LIMITS = {
    "least": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "most": ("at most", operator.le),
    "below": ("below", operator.lt),
}


_KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list[int]: "a list of whole numbers such as [1,2]",
    list[str]: "a list such as [a,b]",
}


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | str = (),
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> Any:
    """A dataclass field that knows what it means and what it may be. `None` is always judged by the field's type, not here."""
    limits = {"help": help, "choices": choices, "least": least, "above": above, "most": most, "below": below}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=limits)
    return field(default=default, metadata=limits)


def settings_of(schema: type, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every key below a schema as it is typed (`model.dense`), with its help and limits."""
    for f in dataclasses.fields(schema):
        group = group_of(f)
        if group:
            yield from settings_of(group, f"{prefix}{f.name}.")
        else:
            yield f"{prefix}{f.name}", f.metadata


def group_of(f: dataclasses.Field[Any]) -> type | None:
    """The schema of a field that is a config group, None for a single setting."""
    factory: Any = f.default_factory
    return factory if isinstance(factory, type) and dataclasses.is_dataclass(factory) else None


def allowed(schema: type, key: str) -> str:
    """What a setting may be, in words: `a whole number, at least 1, or null`; empty for one that takes several kinds."""
    *groups, name = key.split(".")
    for group in groups:
        found = next(f for f in dataclasses.fields(schema) if f.name == group)
        schema = group_of(found) or schema
    limits = next(f.metadata for f in dataclasses.fields(schema) if f.name == name)
    hint = get_type_hints(schema)[name]
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    known = [_KINDS[kind] for kind in kinds if kind in _KINDS]
    if len(known) != 1:
        return ""
    words = [f"{words} {limits[limit]}" for limit, (words, _) in _LIMITS.items() if limits[limit] is not None]
    choices = limits["choices"]
    said = [f"one of {', '.join(choices)}" if isinstance(choices, tuple) and choices else known[0], *words]
    return ", ".join([*said, *(["or null"] if type(None) in kinds else [])])


def bad_values(cfg: Any, prefix: str = "") -> Iterator[str]:
    """What is wrong with the values below a schema, each by its key."""
    for f in dataclasses.fields(cfg):
        value, key = getattr(cfg, f.name), f"{prefix}{f.name}"
        if dataclasses.is_dataclass(value):
            yield from bad_values(value, f"{key}.")
        else:
            yield from bad_value(value, key, f.metadata)


def bad_value(value: Any, key: str, limits: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with one value, by the limits of its `setting`; nothing for a good one."""
    if limits["choices"] == "aus":
        yield from _bad_aus(value, key)
        return
    if value is None:
        return
    if limits["choices"] and value not in limits["choices"]:
        yield f"{key} must be one of {', '.join(limits['choices'])}; got {value}"
    if value == "":
        yield f"{key} must not be empty; null means: not given"
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{key} must be a number, got {value}"
    for limit, (words, holds) in _LIMITS.items():
        if limits[limit] is not None and not holds(value, limits[limit]):
            yield f"{key} must be {words} {limits[limit]}, got {value}"


def _bad_aus(value: Any, key: str) -> Iterator[str]:
    if value == "auto":
        return
    if not isinstance(value, list) or not value or not all(type(v) is int and v in AU_NAMES for v in value):
        yield f"{key} must be auto or a list of FACS numbers such as [1,2,4]; got {'null' if value is None else value}"
    elif len(set(value)) != len(value):
        yield f"{key} names a unit twice: {value}"


def as_dict(cfg: Any) -> dict[str, Any]:
    """The settings as plain nested dictionaries, fit for YAML, JSON and a checkpoint."""
    return dataclasses.asdict(cfg)


def from_dict(schema: type, values: Any, source: str) -> Any:
    """The opposite of `as_dict`: typed and with limits; missing keys take their default.

    Raises:
        FerError: `values` (read from `source`) does not fit the schema: damaged, or written by another version.
    """
    if "${" in str(values):  # what was saved names nothing any more; a stranger's file might ask for the environment
        raise FerError(f"{source} holds settings with ${{...}} in them: write the values out")
    try:
        cfg = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise FerError(f"{source} does not hold settings of this version of fer: {first_line(error)}") from error
    problems = list(bad_values(cfg, ""))
    if problems:
        raise FerError(f"{source}: {problems[0]}")
    return cfg


def nested(settings: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """`flat` undone."""
    found = OmegaConf.create({})
    for key, value in settings:
        OmegaConf.update(found, key, value)
    return cast(dict[str, Any], OmegaConf.to_container(found))


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings of `as_dict` by the keys that are typed: `model.dense`, 256."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
