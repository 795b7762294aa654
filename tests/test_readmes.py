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


def code_of(text: str) -> list[str]:
    """Lines of blocks, and spans in a text, which may go on in its next line."""
    block = r"(?ms)^```\w*\n(.*?)^```$"
    lines = [line for found in re.findall(block, text) for line in found.split("\n")]
    prose = re.sub(block, "", text)
    lines += re.findall(r"(?m)^    (.*)$", prose)
    return [*lines, *(" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose.replace("\\|", "|")))]


def typed_in(text: str, bare: str) -> set[tuple[str, tuple[str, ...]]]:
    """What can be typed, each as a command and its `key=value` words but those with dots and Hydra's own.

    Of a sweep's values, and of those that a page gives to choose from, each makes a line.

    Args:
        bare: the command of settings that stand without one; empty: they are not looked at.
    """
    found = set()
    for line in code_of(text):
        line = re.sub(r" \[([^\]]*)\]", r" \1", re.split(r"\s+# | && | \(", line)[0])  # what may be left out, too
        named = re.search(r"\bfer\.(\w+)(?: (.*))?$", line)
        if "--config-dir" in line or (named and named[1] not in SCHEMAS):
            continue  # a folder of the reader's own; Python
        typed = (named[2] or "") if named else line
        # one quote: of a longer line that hands this one on
        words = shlex.split(typed if typed.count("'") % 2 == 0 else typed.replace("'", ""))
        if not named and not (bare and words and all(re.fullmatch(r"[a-z_.]+=[^=]+", word) for word in words)):
            continue
        between = r"[|,]" if "-m" in words else r"\|"
        settings = [word.rstrip(":;,").split("=", 1) for word in words if re.search(r"^(?!hydra).*=.", word)]
        each = [(key, re.split(between, value)) for key, value in settings if "..." not in value]
        for swept, values in enumerate([["first"], *(values for _, values in each)]):
            for choice in values:
                typed_words = [f"{key}={choice if k + 1 == swept else own[0]}" for k, (key, own) in enumerate(each)]
                found.add((named[1] if named else bare, tuple(typed_words)))
    return found


BARE = {"conf/README.md": "train", "conf/experiment/README.md": "crossval", "fer/benchmarking/README.md": "benchmark"}
"""Of which command the settings are that stand on a page without one."""


def lines() -> list[tuple[str, tuple[str, ...]]]:
    """Those of all pages, and those in the comments of the files of `conf/`."""
    found = set()
    for page in PAGES:
        found |= typed_in(page.read_text(encoding="utf-8"), BARE.get(page.relative_to(ROOT).as_posix(), ""))
    for file in (ROOT / "conf").rglob("*.yaml"):
        comments = file.read_text(encoding="utf-8").replace("# ", "")
        found |= typed_in("".join(f"`{line}`" for line in re.findall(r"python -m fer\.\w+.*", comments)), "")
    return sorted(found)


@pytest.mark.parametrize(
    ("command", "words"), lines(), ids=lambda part: part if isinstance(part, str) else " ".join(part)
)
def test_lines_can_be_typed(command: str, words: tuple[str, ...]) -> None:
    given = {word.split("=")[0] for word in words}
    needed = [word for word in NEEDED.get(command, []) if word.split("=")[0] not in given]
    needed += ["data.root=x"] if "data=ckplus" in words and "data.root" not in given else []
    assert command in SCHEMAS
    composed(command, *words, *needed)
