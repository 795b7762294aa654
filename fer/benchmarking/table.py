"""The findings on a terminal of 100 columns."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from fer.benchmarking.findings import Findings

WIDTH = 100
MARKS = {True: "ok", False: "short", None: ""}


def print_findings(found: Findings, console: Console) -> None:
    """Ratios with what they were made of, then every stage, memory, and what has a form of its own."""
    for table in (_ratios(found), _stages(found), _memory(found), _growth(found)):
        if table.row_count:
            console.print(table, width=min(WIDTH, console.width))
            console.print()
    for name, reason in found.left_out.items():
        console.print(f"left out: {name}: {reason}", width=min(WIDTH, console.width), highlight=False)


def _empty(*columns: str, numbers: int) -> Table:
    """A table whose last columns are numbers."""
    table = Table(box=None, pad_edge=False)
    for k, column in enumerate(columns):
        right = k >= len(columns) - numbers
        table.add_column(column, justify="right" if right else "left", no_wrap=right)
    return table


def _ratios(found: Findings) -> Table:
    table = Table(box=None, pad_edge=False)
    for title, right in (
        ("ratio", True),
        ("by cores", True),
        ("goal", True),
        ("", False),
        ("of", False),
        ("measured", False),
    ):
        table.add_column(title, justify="right" if right else "left", no_wrap=right)
    for ratio in found.ratios:
        table.add_row(
            _number(ratio.value), _number(ratio.cores), ratio.goal or "", MARKS[ratio.met], ratio.name, ratio.measured
        )
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _stages(found: Findings) -> Table:
    table = _empty("stage", "images/s", "core ms/image", "images", numbers=3)
    for name, stage in found.stages.items():
        table.add_row(
            name, f"{stage['images_per_s']:,.1f}", f"{stage['core_ms_per_image']:,.2f}", f"{stage['n_images']:,}"
        )
    return table


def _memory(found: Findings) -> Table:
    table = _empty("memory, MB", "peak", "grown by", "GPU peak", numbers=3)
    for part, memory in found.memory.items():
        gpu = memory.get("gpu_peak_mb")
        table.add_row(
            part, f"{memory['peak_mb']:,.0f}", f"{memory['grown_mb']:,.0f}", "" if gpu is None else f"{gpu:,.0f}"
        )
    for name, share in found.more.get("share_of_training_lost", {}).items():
        table.add_row(f"share of training lost {name}", f"{share:.1%}")
    if "between_epochs" in found.more:
        pause = found.more["between_epochs"]
        table.add_row("between two epochs", f"{pause['seconds']:.2f} s", f"{pause['share_of_an_epoch']:.1%}")
    return table


def _growth(found: Findings) -> Table:
    table = _empty("pictures", "read s", "decode/s", "load/s", "check ms/image", "peak MB", "grown MB", numbers=6)
    for row in found.more.get("growth", []):
        table.add_row(
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
        values = (
            f"{read['rows']:,} rows",
            f"{read['read_s']:.1f}",
            f"{read['peak_mb']:,.0f}",
            f"{read['grown_mb']:,.0f}",
        )
        table.add_row(values[0], values[1], "", "", "", *values[2:])
    return table
