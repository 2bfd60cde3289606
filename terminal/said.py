from rich.console import Console

console = Console(stderr=True, highlight=False, soft_wrap=True)
"""Prose goes to standard error: standard output is for what programs read."""


def say(line: str) -> None:
    console.print(line, markup=False)
