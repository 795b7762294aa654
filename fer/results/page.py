"""The pages: in, a template and what it shows; out, the text of one file that opens offline. All share the frame `page.html.j2`."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader


def render(package: str, template: str, context: Mapping[str, Any], **filters: Callable[..., str]) -> str:
    """Fills a template of `package`, which may extend and import those of `fer.results`; `filters` by the names that it uses."""
    return _environment(package, tuple(filters.items())).get_template(template).render(context)


@cache
def _environment(package: str, filters: tuple[tuple[str, Callable[..., str]], ...]) -> Environment:
    """Kept, as are the templates that it has read: a sweep writes a page for each of its runs."""
    loader = ChoiceLoader([PackageLoader(package, "."), PackageLoader("fer.results", ".")])
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"fixed": fixed, "span": span, **dict(filters)}
    return environment


def fixed(value: float | None, digits: int = 3) -> str:
    """`0.437`, or a dash for a score that is not defined."""
    return "\N{EN DASH}" if value is None else f"{value:.{digits}f}"


def span(interval: list[float] | None, digits: int = 3) -> str:
    """`0.391–0.482`, or nothing."""
    return f"{interval[0]:.{digits}f}\N{EN DASH}{interval[1]:.{digits}f}" if interval else ""
