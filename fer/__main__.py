"""`fer train ...` is `python -m fer.train ...`: the console script of all commands."""

from __future__ import annotations

import importlib
import sys

from fer.config import SCHEMAS


def main() -> None:
    """Runs the command that the first argument names."""
    commands = ", ".join(SCHEMAS)
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(f"usage: fer COMMAND [key=value ...]      commands: {commands}      fer COMMAND --help says more")
        sys.exit(0 if len(sys.argv) > 1 else 2)
    name = sys.argv[1]
    if name not in SCHEMAS:
        print(f"fer: there is no command {name}; commands: {commands}", file=sys.stderr)
        sys.exit(2)
    sys.argv[:2] = [f"fer {name}"]
    importlib.import_module(f"fer.{name}").main()


if __name__ == "__main__":
    main()
