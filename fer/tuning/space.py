"""The space of a search: `conf/search/*.yaml`, checked against the schema of `fer.train`, as Optuna's distributions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from hydra.core.global_hydra import GlobalHydra
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from fer.cli.quoting import in_quotes
from fer.cli.typed import refuse_bad_overrides
from fer.config import FREE, HEAD_WEIGHTS, TrainConfig, settings_of
from fer.errors import FerError, first_line

GROUPS = ("augment", "model", "loss", "optimizer", "scheduler", "trainer")
"""Groups that may be searched as a whole (`optimizer: {choices: [adam, sgd]}`) and by their keys."""

OF_THE_DATA = ("data.batch_size", "data.image_size", "data.crop", "data.color")
"""The data settings that may be searched: the others change who is judged, or on which labels, and so what a score means."""

OF_THE_MACHINE = ("trainer.accelerator", "trainer.devices", "trainer.num_nodes", *FREE)

Space = dict[str, BaseDistribution]


def read_space(entries: Any, typed: list[str]) -> Space:
    """The settings to search and where.

    Args:
        entries: the search file: key -> `choices`, or `low` and `high` with `log` or `step`.
        typed: keys that the command line fixes; they are not searched.

    Raises:
        FerError: names the first entry that is unknown, badly bounded, or that `fer.train` would refuse.
    """
    if not isinstance(entries, Mapping) or not entries:
        raise FerError("search: the file names no setting to search")
    space = {str(key): _distribution(str(key), entry) for key, entry in entries.items()}
    space = {key: values for key, values in space.items() if key not in typed}
    if not varied(space):
        raise FerError("search: every setting of the file is fixed by the command line or has a single choice")
    return space


def varied(space: Space) -> list[str]:
    """The keys that have more than one value."""
    return [key for key, values in space.items() if not values.single()]


def as_override(key: str, value: Any) -> str:
    """`key=value` as it would be typed, quoted for Hydra where needed."""
    if value is None:
        return f"{key}=null"
    if isinstance(value, bool):
        return f"{key}={str(value).lower()}"
    if isinstance(value, float):
        return f"{key}={value:.15g}"  # steps of a tenth add up to 0.30000000000000004
    if isinstance(value, str) and not value.replace("_", "").replace("/", "").isalnum():
        return f"{key}={in_quotes(value)}"
    return f"{key}={value}"


def _distribution(key: str, entry: Any) -> BaseDistribution:
    found = _as_asked(key, entry)
    values = found.choices if isinstance(found, CategoricalDistribution) else (found.low,)  # type: ignore[attr-defined]
    if key in HEAD_WEIGHTS and 0 in values:
        raise FerError(f"search: {key}=0 leaves a head out: what is scored then is another score")
    return found


def _as_asked(key: str, entry: Any) -> BaseDistribution:
    _check_key(key)
    if not isinstance(entry, Mapping):
        raise FerError(f"search: {key} must be {{choices: [...]}} or {{low: ..., high: ...}}, got {entry}")
    given = {str(word): value for word, value in entry.items()}
    unknown = sorted(set(given) - {"choices", "low", "high", "log", "step"})
    if unknown:
        raise FerError(f"search: {key}: no such word {unknown[0]} (known: choices; or low, high, log, step)")
    if ("choices" in given) == bool({"low", "high"} & set(given)):
        raise FerError(f"search: {key} needs either choices, or low and high")
    return _choices(key, given) if "choices" in given else _range(key, **given)


def _check_key(key: str) -> None:
    top = key.split(".")[0]
    if key in GROUPS:
        return
    if key not in dict(settings_of(TrainConfig)) and top != "hydra" and "." in key:
        _refuse(key, 0)  # says which key is near
    if (top not in GROUPS and key not in OF_THE_DATA) or "." not in key:
        raise FerError(
            f"search: {key} can't be searched: scores would not be comparable (what can: {', '.join(GROUPS)} and their keys, "
            f"{', '.join(OF_THE_DATA)})"
        )
    if key in OF_THE_MACHINE:
        raise FerError(f"search: {key} can't be searched: it says where a run runs, not what it learns")


def _choices(key: str, given: dict[str, Any]) -> CategoricalDistribution:
    choices = given.pop("choices")
    if given:
        raise FerError(f"search: {key}: choices stand alone, without {', '.join(given)}")
    if not isinstance(choices, list) or not choices:
        raise FerError(f"search: {key}: choices must be a list of values, got {choices}")
    plain = (str, int, float, bool, type(None))
    if not all(isinstance(choice, plain) for choice in choices):
        raise FerError(f"search: {key}: a choice must be a number, a word, true, false or null; got {choices}")
    if key in GROUPS:
        known = GlobalHydra.instance().config_loader().get_group_options(key)
        # yaml reads none as a word, but a file may be called 1
        for choice in map(str, choices):
            if choice not in known:
                raise FerError(f"search: {key}={choice}: no such file (known: {', '.join(known)})")
    else:
        for choice in choices:
            _refuse(key, choice)
    if len({(type(choice), choice) for choice in choices}) < len(choices):
        raise FerError(f"search: {key} names a choice twice: {choices}")
    return CategoricalDistribution(choices)


def _range(key: str, low: Any = None, high: Any = None, log: Any = False, step: Any = None) -> BaseDistribution:
    whole = _is_whole(key)
    numbers = int if whole else (int, float)
    for word, value in (("low", low), ("high", high), ("step", step)):
        if not (isinstance(value, numbers) and not isinstance(value, bool)) and not (word == "step" and value is None):
            kind = "a whole number" if whole else "a number"
            raise FerError(f"search: {key}: {word} must be {kind}, got {value}")
    if not isinstance(log, bool):
        raise FerError(f"search: {key}: log must be true or false, got {log}")
    for bound in (low, high):
        _refuse(key, bound)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a step that does not divide the range
            if whole:
                return IntDistribution(low, high, log=log, step=1 if step is None else step)
            return FloatDistribution(low, high, log=log, step=step)
    except (ValueError, UserWarning) as error:
        raise FerError(f"search: {key}: {first_line(error)}") from error


def _is_whole(key: str) -> bool:
    """Whether a key takes whole numbers.

    Raises:
        FerError: it takes no numbers.
    """
    if key in GROUPS:
        raise FerError(f"search: {key} is a group: name its choices")
    hint: Any = TrainConfig
    for name in key.split("."):
        hint = get_type_hints(hint)[name]
    kinds = set(get_args(hint)) or {hint}
    if not kinds & {int, float}:
        raise FerError(f"search: {key} is not a number: name its choices")
    return int in kinds


def _refuse(key: str, value: Any) -> None:
    """Raises what `fer.train` would say of the value."""
    try:
        refuse_bad_overrides([as_override(key, value)], TrainConfig)
    except FerError as error:
        raise FerError(f"search: {error}") from error
