import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.rule import Rule

from settings import ROOT
from terminal.said import console, say


@dataclass(frozen=True)
class Gate:
    name: str
    command: Sequence[str]
    todo: str


def gates(pytest_arguments: Sequence[str]) -> list[Gate]:
    """Cheap ones first. By module, not by script: a script's first line dies when the directory moves."""
    python = sys.executable
    linter = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    return [
        Gate("ruff check", [python, "-m", "ruff", "check", "."], "try .venv/bin/ruff check --fix"),
        Gate("ruff format", [python, "-m", "ruff", "format", "--check", "."], "run .venv/bin/ruff format"),
        Gate("mypy", [python, "-m", "mypy"], "read the types above"),
        Gate("lint-imports", [python, "-c", linter], "design: imports point one way"),
        Gate("pytest", [python, "-m", "pytest", "-q", *pytest_arguments], "read the failures above"),
    ]


def run_gates(long: bool, database: str | None, pytest_arguments: Sequence[str]) -> int:
    """Everything CI runs; the exit status of the first gate that fails."""
    env = environment(long, database)
    for gate in gates(pytest_arguments):
        console.print(Rule(gate.name, align="left"))
        status = subprocess.run(gate.command, cwd=ROOT, env=env, check=False).returncode
        if status:
            say(f"haat: {gate.name} failed: {gate.todo}")
            return status if status > 0 else 128 - status
    return 0


def environment(long: bool, database: str | None) -> Mapping[str, str]:
    """Nothing of the caller's own town: the tests set what they mean."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HAAT_")}
    for name in ("HAAT_TEST_DATABASE_URL", "HAAT_TEST_LONG", "HAAT_TEST_CATALOGUE"):
        if name in os.environ:
            env[name] = os.environ[name]
    if long:
        env["HAAT_TEST_LONG"] = "1"
    if database:
        env["HAAT_TEST_DATABASE_URL"] = database
    return env
