"""What the README files say to type can be typed, and their links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from conftest import composed

from fer.config import SCHEMAS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("conf/**/README.md")), *sorted(ROOT.glob("fer/**/README.md"))]
NEEDED = {
    "evaluate": ["checkpoint=x"],
    "predict": ["checkpoint=x", "input=x"],
    "explain": ["checkpoint=x"],
    "export": ["checkpoint=x", "output=model.onnx"],
    "serve": ["checkpoint=x"],
    "synthesize": ["root=x"],
    "compare": ["runs=[x,y]"],
}
"""What a line that only shows a setting leaves out."""


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def typed_in(text: str) -> set[tuple[str, tuple[str, ...]]]:
    """The lines with `python -m fer.<command>`, each as a command and its `key=value` words but those with dots."""
    found = set()
    for command, line in re.findall(r"python -m fer\.(\w+)((?: [^`\n]*)?)", text):
        if "--config-dir" in line:
            continue  # a folder of the reader's own
        line = re.split(r"  #| && | \(", line)[0].replace("[", "").replace("]", "")
        words = shlex.split(line if line.count("'") % 2 == 0 else line[: line.index("'")])  # of a longer line in quotes
        words = [word.rstrip(":;,") for word in words if "=" in word and "|" not in word and "..." not in word]
        swept = "-m" in line.split()
        words = [re.sub(r",.*", "", word) if swept else word for word in words if not word.startswith("hydra")]
        found.add((command, tuple(words)))
    return found


LINES = sorted(
    set().union(
        *(typed_in(page.read_text(encoding="utf-8")) for page in PAGES),
        *(typed_in(file.read_text(encoding="utf-8").replace("# ", "")) for file in (ROOT / "conf").rglob("*.yaml")),
    )
)


@pytest.mark.parametrize(
    ("command", "words"), LINES, ids=lambda part: part if isinstance(part, str) else " ".join(part)
)
def test_lines_can_be_typed(command: str, words: tuple[str, ...]) -> None:
    given = {word.split("=")[0] for word in words}
    needed = [word for word in NEEDED.get(command, []) if word.split("=")[0] not in given]
    needed += ["data.root=x"] if "data=ckplus" in words and "data.root" not in given else []
    assert command in SCHEMAS
    composed(command, *words, *needed)
