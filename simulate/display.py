"""A simulation as a person watches it, and as a program reads it at its end."""

import time
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from simulate.play import Run

ORDER = (
    "PAYMENT_PENDING", "PLACED", "ACCEPTED", "READY", "PICKED_UP", "DELIVERED",
    "REJECTED", "CANCELLED", "EXPIRED", "UNDELIVERED", "RETURNED",
)  # fmt: skip


def screen(run: Run) -> RenderableType:
    seen, wish = run.seen, run.plan.wish
    passed = min(time.monotonic() - run.began, wish.seconds) if run.phase != "entering" else 0
    if run.phase == "entering":
        return Panel(Text(line(run)), title=f"plan {run.plan.hash}", title_align="left")
    title = f"{run.phase}  {passed:.0f} of {wish.seconds:.0f} s   seed {wish.seed}   plan {run.plan.hash}"
    status = seen.by_status
    orders = table("Orders", {name: status[name] for name in ORDER if name in status} | {"refused": sum(seen.refused.values())})
    webhooks = table("Webhooks", dict(seen.webhooks_by_kind))
    riders = table("Riders", {"on duty": seen.on_duty, "deliveries": sum(seen.riders.values())})
    frames = seen.frames
    latency = {
        f"p{part:.0%}".rstrip("%"): f"{found} ms" for part in (0.5, 0.95) if (found := frames.percentile_ms(part)) is not None
    }
    live = table(
        "Event to client", {"frames": frames.received, **latency, "snapshots": frames.resets, "reconnects": seen.reconnects}
    )
    notes = [Text(note, "yellow") for note in seen.notes[-3:]]
    return Panel(Group(Columns([orders, webhooks, riders, live], padding=(0, 3)), *notes), title=title, title_align="left")


def table(title: str, rows: dict[str, Any]) -> Table:
    shown = Table(title=title, title_justify="left", show_header=False, box=None, min_width=20)
    shown.add_column()
    shown.add_column(justify="right")
    for name, value in rows.items():
        shown.add_row(name.lower().replace("_", " "), str(value))
    return shown


def line(run: Run) -> str:
    """Where there is no screen."""
    seen = run.seen
    if run.phase == "entering":
        waiting = ", waiting for others to be let in" if seen.waits["TOO_MANY_TRIES"] + seen.waits["RATE_LIMITED"] else ""
        return f"entering: {seen.signed_in} of {run.plan.customers + run.plan.wish.riders} people signed in{waiting}"
    return (
        f"{run.phase}: {len(seen.orders)} orders ({len(seen.under_way)} under way), {len(seen.webhooks)} webhooks, "
        f"{seen.frames.received} frames, p95 {seen.frames.percentile_ms(0.95)} ms"
    )


def summary(run: Run) -> dict[str, Any]:
    """Measured, all of it. Latencies are from an event's `at` to its receipt here, of changes and not of snapshots."""
    seen, wish, frames = run.seen, run.plan.wish, run.seen.frames
    return {
        "ok": run.holds,
        "plan": run.plan.hash,
        "seed": wish.seed,
        "minutes": wish.minutes,
        "faults": wish.faults,
        "stopped": run.stop.is_set(),
        "orders": {"placed": len(seen.orders), "byStatus": dict(seen.by_status), "refused": dict(seen.refused)},
        "webhooks": {"sent": len(seen.webhooks), **seen.webhooks_by_kind},
        "providers": dict(seen.webhooks_by_provider),
        "riders": {"onDuty": seen.on_duty, "deliveries": sum(seen.riders.values())},
        "frames": {
            "received": frames.received,
            "snapshots": frames.resets,
            "degraded": frames.degraded,
            "measured": len(frames.latencies_ms),
            "p50Ms": frames.percentile_ms(0.5),
            "p95Ms": frames.percentile_ms(0.95),
            "maxMs": frames.percentile_ms(1),
        },
        "reconnects": seen.reconnects,
        "slowReaders": seen.dawdled,
        "waits": dict(seen.waits),
        "notes": seen.notes,
        "checks": [
            {"name": check.name, "holds": check.holds, "lookedAt": check.looked_at, "broken": check.broken} for check in run.checks
        ],
    }
