"""The findings on a terminal of 100 columns."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from fer.benchmarking.findings import Findings
from fer.terminal import fitted, table

MARKS = {True: "ok", False: "short", None: ""}


def print_findings(found: Findings, console: Console) -> None:
    """Ratios with what they were made of, then every stage, memory, and what has a form of its own."""
    fitted(console)
    for made in (_ratios(found), _stages(found), _memory(found), _growth(found)):
        if made.row_count:
            console.print(made)
            console.print()
    for name, reason in found.left_out.items():
        console.print(f"left out: {name}: {reason}", highlight=False)


def _ratios(found: Findings) -> Table:
    made = table("ratio", "by cores", "goal", words=0)
    for head in ("", "of", "measured"):
        made.add_column(head)
    for ratio in found.ratios:
        made.add_row(
            _number(ratio.value), _number(ratio.cores), ratio.goal or "", MARKS[ratio.met], ratio.name, ratio.measured
        )
    return made


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _stages(found: Findings) -> Table:
    made = table("stage", "images/s", "core ms/image", "images")
    for name, stage in found.stages.items():
        made.add_row(
            name, f"{stage['images_per_s']:,.1f}", f"{stage['core_ms_per_image']:,.2f}", f"{stage['n_images']:,}"
        )
    return made


def _memory(found: Findings) -> Table:
    made = table("memory, MB", "peak", "grown by", "GPU peak")
    for part, memory in found.memory.items():
        gpu = memory.get("gpu_peak_mb")
        made.add_row(
            part, f"{memory['peak_mb']:,.0f}", f"{memory['grown_mb']:,.0f}", "" if gpu is None else f"{gpu:,.0f}"
        )
    for name, share in found.more.get("share_of_training_lost", {}).items():
        made.add_row(f"share of training lost {name}", f"{share:.1%}")
    if "between_epochs" in found.more:
        pause = found.more["between_epochs"]
        made.add_row("between two epochs", f"{pause['seconds']:.2f} s", f"{pause['share_of_an_epoch']:.1%}")
    return made


def _growth(found: Findings) -> Table:
    made = table("pictures", "read s", "decode/s", "load/s", "check ms/image", "peak MB", "grown MB")
    for row in found.more.get("growth", []):
        made.add_row(
            f"{row['images']:,}",
            f"{row['read_s']:.2f}",
            f"{row['decode_images_per_s']:,.0f}",
            f"{row['load_images_per_s']:,.0f}",
            f"{row['read_split_and_check_ms_per_image']:.2f}",
            f"{row['peak_mb']:,.0f}",
            f"{row['grown_mb']:,.0f}",
        )
    if "table" in found.more:
        read = found.more["table"]
        memory = (f"{read['peak_mb']:,.0f}", f"{read['grown_mb']:,.0f}")
        made.add_row(f"{read['rows']:,} rows", f"{read['read_s']:.1f}", "", "", "", *memory)
    return made
