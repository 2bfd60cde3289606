"""What the import linter cannot see: the root's files, the domain's purity, names."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUTSIDE = {"adapters", "providers", "channels"}
ROOMS = OUTSIDE | {"schema", "subscriptions", "webhooks", "workers", "resolvers", "db", "domain"}
VAGUE = {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}


def imported(path: Path) -> set[str]:
    """The top-level names a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def ours() -> list[Path]:
    rooms = (path for room in ROOMS | {"demo", "launch", "simulate", "terminal", "tests"} for path in ROOT.glob(f"{room}/**/*.py"))
    return [*ROOT.glob("*.py"), *rooms]


def test_only_wiring_imports_the_outside():
    for path in [*ROOT.glob("*.py"), *ROOT.glob("terminal/**/*.py")]:
        assert path.name == "wiring.py" or not imported(path) & OUTSIDE, path


def test_domain_imports_the_standard_library_alone():
    for path in ROOT.glob("domain/**/*.py"):
        assert imported(path) <= sys.stdlib_module_names | {"domain"}, path


def test_settings_and_launch_know_no_room():
    for path in [ROOT / "settings.py", *ROOT.glob("launch/**/*.py")]:
        assert not imported(path) & (ROOMS | {"wiring", "app", "cli", "terminal"}), path


def test_strawberry_is_named_in_schema_alone_and_the_app_that_mounts_it():
    for path in ROOT.glob("*.py"):
        assert path.name in {"app.py", "wiring.py"} or not imported(path) & {"strawberry", "graphql"}, path


def test_no_file_has_a_vague_name():
    for path in ours():
        assert not set(path.stem.split("_")) & VAGUE, path


def test_the_table_of_commands_stays_thin():
    assert len((ROOT / "cli.py").read_text().splitlines()) <= 400


def test_importing_the_table_of_commands_imports_no_room():
    """Or every command, even --help, would take seconds."""
    code = "import sys, cli; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(loaded.stdout.split()) & (ROOMS | {"wiring", "app", "strawberry", "sqlalchemy"})


def test_every_folder_of_tests_is_a_package():
    for path in (ROOT / "tests").rglob("test_*.py"):
        assert (path.parent / "__init__.py").exists(), path


def test_the_locks_name_no_registry_and_no_path():
    for lock in ROOT.glob("requirements*.lock"):
        text = lock.read_text()
        assert "://" not in text, lock
        assert not [line for line in text.splitlines() if line.startswith(("-", "/", "file:"))], lock
