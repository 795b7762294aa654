"""Runs a checkpoint, or the weights of one in a safetensors file, with torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from fer.data.augment import centre_view
from fer.data.images import Pixels8
from fer.errors import FerError, first_line
from fer.model.checkpoints import SEEN
from fer.model.finished import load_module
from fer.model.network import Logits, TwoHeadNetwork, full_precision, probabilities
from fer.use.answers import Answers, Probabilities
from fer.use.facts import METADATA_KEY, Facts


class TorchRuntime:
    """A network on a processor.

    Attributes:
        facts: names, thresholds, preprocessing.
        module: pictures to `Logits`, in eval mode, on `device`; for those who need gradients.
        precision: `f32`, or `bf16`.
    """

    has_gradients = True

    def __init__(self, module: nn.Module, facts: Facts, accelerator: str = "auto", precision: str = "f32") -> None:
        self.facts, self.device, self.precision = facts, torch_device(accelerator), precision
        self.module = module.eval().to(self.device).to(memory_format=torch.channels_last)

    @classmethod
    def of_checkpoint(cls, path: Path, accelerator: str = "auto", precision: str = "f32") -> TorchRuntime:
        """A checkpoint of `fer.train`.

        Raises:
            FerError: see `fer.model.finished.load_module`.
        """
        module, card = load_module(path)
        return cls(module, Facts.of_checkpoint(module.hparams, card, path), accelerator, precision)

    @classmethod
    def of_safetensors(cls, path: Path, accelerator: str = "auto", precision: str = "f32") -> TorchRuntime:
        """A file of `fer.export format=safetensors`.

        Raises:
            FerError: it is damaged, or was not written by this program.
        """
        try:
            with safe_open(path, "pt") as file:
                text = (file.metadata() or {}).get(METADATA_KEY, "null")
                facts = Facts.from_json(text, str(path))
                made = json.loads(text)["network"]
                if made["image_size"] != facts.image_size:
                    raise ValueError("it names two sizes of its pictures")
                network = TwoHeadNetwork(**made)
                names = set(file.keys()) - set(SEEN)
                network.load_state_dict({name: file.get_tensor(name) for name in names})
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise FerError(f"{path} can't be loaded as weights of fer ({first_line(error)[:120]})") from error
        return cls(network, facts, accelerator, precision)

    def ready(self, pixels: Pixels8) -> Tensor:
        """Stored pixels to the network's input, as it lies in memory."""
        return self.images(pixels).contiguous(memory_format=torch.channels_last)

    def run(self, images: Tensor) -> Answers:
        """[N, 3, H, W] to calibrated probabilities."""
        lower = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")
        with torch.inference_mode(), full_precision(), lower:
            logits: Logits = self.module(images)
            found = calibrated(logits, self.facts.temperature)
        return Answers(_array(found.get("au"), len(images)), _array(found.get("emotion"), len(images)))

    def images(self, pixels: Pixels8) -> Tensor:
        """[N, S, S, C] uint8 to the network's input [N, 3, H, W] in [0, 1], on the device."""
        stored = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self.device)
        return centre_view(stored, self.facts.image_size)


def torch_device(accelerator: str) -> torch.device:
    """The processor that `auto`, `cpu`, `gpu` or `mps` means here.

    Raises:
        FerError: torch finds none of that kind.
    """
    found = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if accelerator == "auto":
        accelerator = next(name for name, there in found.items() if there)
    if not found.get(accelerator):
        raise FerError(f"accelerator={accelerator}: torch finds none on this machine; use auto or cpu")
    return torch.device("cuda" if accelerator == "gpu" else accelerator)


def calibrated(logits: Logits, temperature: Mapping[str, float]) -> dict[str, Tensor]:
    """Logits to the probabilities `au` [N, A] and `emotion` [N, E] of the heads that there are, by the model's temperature."""
    au, emotion = logits
    return probabilities(
        Logits(
            None if au is None else au.float() / temperature["au"],
            None if emotion is None else emotion.float() / temperature["emotion"],
        )
    )


def _array(probability: Tensor | None, n: int) -> Probabilities:
    return np.zeros((n, 0), np.float32) if probability is None else probability.cpu().numpy()
