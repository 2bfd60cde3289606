"""`./haat doctor --audit`."""

from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.ids import new_id
from db.unit_of_work import unit_of_work
from domain.identity import CLOCK
from terminal.audit import SHOWN, check_audit
from tests.desks import desk_of


async def test_the_doctor_says_where_the_audit_was_touched(
    engine: AsyncEngine, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    desk, merchant_id = desk_of(engine, database_url, tmp_path), new_id()
    async with unit_of_work(engine) as uow:
        for _ in range(2 * SHOWN + 10):
            await uow.audit.write(CLOCK, "set price", new_id(), merchant_id, "10 → 12")
            await uow.audit.write(CLOCK, "ban user", new_id(), None, "")
    assert await check_audit(desk)
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{4 * SHOWN + 20} entries in 2 chains: all as they were sealed" in err
    heads = [line for line in err.splitlines() if line.startswith("their heads come to ")]

    async with engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE audit DISABLE TRIGGER USER")
        await connection.exec_driver_sql("DELETE FROM audit WHERE merchant_id IS NULL AND seq = 4")
        await connection.exec_driver_sql(f"UPDATE audit SET detail = '' WHERE merchant_id IS NOT NULL AND seq <= {SHOWN + 7}")
        await connection.exec_driver_sql("ALTER TABLE audit ENABLE TRIGGER USER")
    assert not await check_audit(desk)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "what belongs to no merchant: entry 4 is missing"
    assert lines[1] == f"merchant {merchant_id}: entry 1 is not what was sealed: it was changed, or what stood before it"
    assert lines[-1] == f"merchant {merchant_id}: 7 places more"
    assert len(lines) == 1 + SHOWN + 1
    assert f"{SHOWN + 8} places are not" in err
    assert heads[0] in err.splitlines()  # of what nobody has touched yet
