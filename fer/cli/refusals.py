"""Which errors are the user's to mend, and how each is said on one line. Never imports torch."""

from __future__ import annotations

import re

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from fer.errors import FerError, first_line, printable

REFUSALS = (FerError, HydraException, OmegaConfBaseException, OSError)
"""Errors that are the user's to mend: a setting, the data, the disk. All else is a bug and keeps its traceback."""


def one_line(error: Exception) -> str:
    """What is wrong, on one line: of a Hydra or OmegaConf error without its hints, options joined with commas."""
    if isinstance(error, FerError):
        return printable(" ".join(str(error).split()))
    if isinstance(error, OSError) and not isinstance(error, HydraException):  # Hydra's missing files are both
        return f"{error.filename or 'disk'}: {error.strerror or first_line(error)}"
    lines = [
        line.strip()
        for line in str(error).splitlines()
        if line.strip() and not line.startswith("To append to your config")
    ]
    head = [
        line
        for line in lines
        if not line.startswith(("Config search path", "full_key", "object_type", "reference_type", "provider="))
    ]
    if any(line.startswith("Ambiguous value for argument") for line in head):
        argument = head[0].removeprefix("Ambiguous value for argument ").strip("'")
        key, value = argument.split("=", 1)
        return f"{argument}: several values; a run for each of them: type -m, too; one value with a comma: \"{key}='{value}'\""
    if any("hydra.cc" in line for line in head):
        said = " ".join(line for line in head if not line.startswith(("See ", "^"))).split("Exception: ", 1)[-1]
        return f"{said}; quote a value with other than plain characters twice: \"data.root='my, folder'\""
    if "No match in the defaults list" in str(error):
        return f"{head[0].split('. No match')[0]}: this command has no such group of settings"
    if "Available options" in str(error):
        at = next(i for i, line in enumerate(head) if line.startswith("Available options"))
        other = "; or model.backbone=NAME, any classifier of torchvision" if "'model/" in str(error) else ""
        known = ", ".join([head[at].split(":", 1)[1].strip(), *head[at + 1 :]]).lstrip(", ")
        wanted = re.search(r"Could not find '(.+)/([^/]+)'", " ".join(head[:at]))
        said = f"{wanted[1]}={wanted[2]}: there is no such choice" if wanted else " ".join(head[:at])
        return f"{said} (known: {known}{other})"
    key = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key:")), "")
    return " ".join([f"{key}:"] * bool(key) + head[:3])
