"""What the tests of this run counted. tests/conftest.py prints it at the end, one JSON object a line."""

import os
from typing import Any

SHOWN: list[dict[str, Any]] = []


def show(what: str, **figures: Any) -> None:
    """`figures` are read when the run ends: a module's own `Counter` may still grow. A seed belongs among them."""
    file = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0]
    SHOWN.append({"figures": what, "file": file, **figures})
