"""Looks whether every chain of the audit is whole."""

import hashlib
import sys
from collections import Counter
from uuid import UUID

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from db import audit
from domain.audit import NOBODYS
from terminal.desk import Desk
from terminal.said import console, say

SHOWN = 20  # places told of one chain: where one is torn, all that follows may be


async def check_audit(desk: Desk) -> bool:
    """A line on standard output for each place where a chain does not hold. Returns whether all of them do.

    What it cannot know is whether an end was cut off together with its head: so it tells what all heads come to, to be
    kept elsewhere and compared.
    """
    columns = (TextColumn("audit"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    heads = hashlib.sha256()
    entries = chains = 0
    broken = Counter[UUID]()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=await audit.count(desk.reads))
        async for now in audit.walk(desk.engine):
            for found in now.breaks:
                broken[found.chain] += 1
                if broken[found.chain] <= SHOWN:
                    sys.stdout.write(f"{_chain(found.chain)}: entry {found.seq} {found.what}\n")
            if now.head is not None:
                chains += 1
                heads.update(f"{now.head.chain} {now.head.seq} {now.head.hash.hex()}\n".encode())
            entries = now.entries
            progress.update(bar, completed=entries)
    for chain, places in broken.items():
        if places > SHOWN:
            sys.stdout.write(f"{_chain(chain)}: {places - SHOWN} places more\n")
    whole = not broken
    say(f"{entries} entries in {chains} chains: " + ("all as they were sealed" if whole else f"{broken.total()} places are not"))
    if whole:
        say("an end that was cut off together with its head is not seen from here: keep this number of today elsewhere")
    say(f"their heads come to {heads.hexdigest()}")
    return whole


def _chain(chain: UUID) -> str:
    return "what belongs to no merchant" if chain == NOBODYS else f"merchant {chain}"
