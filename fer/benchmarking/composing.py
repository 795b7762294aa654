"""Settings from words, inside a command (where Hydra runs already) and outside of one. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from fer.config import SCHEMAS, conf_dir


def composed(command: str, words: Sequence[str]) -> DictConfig:
    """What `python -m fer.<command> <words>` would be run with, unchecked."""
    ConfigStore.instance().store(f"{command}_schema", node=SCHEMAS[command])
    runs = GlobalHydra.instance().is_initialized()
    with nullcontext() if runs else initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(command, list(words))
