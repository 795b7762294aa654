"""Packages that only some commands need."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from fer.errors import FerError


def needed(package: str, purpose: str) -> Any:
    """The imported package.

    Raises:
        FerError: it is not installed; says how to get it.
    """
    # OpenVINO and nncf report their use to a server unless this package is missing; no picture or model is anybody else's business
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        missing = str(error.name or package).split(".")[0]
        raise FerError(f"{missing} is needed {purpose}: pip install {missing}") from error
