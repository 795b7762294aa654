"""The command line: Hydra around every command, what is refused on one line, help, sweeps, several processes. Never imports torch."""
