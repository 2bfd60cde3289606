"""How far a table can be read in the order of its numbers, when transactions commit in another.

A number is taken before its row can be seen. A transaction holds the table's lock from before it takes its first number until
after the others can see its rows: so first the last number is read, then who writes, and when all of those have ended, up to that
number everything is there that ever will be.
"""

from sqlalchemy import Text, TextClause, bindparam, text


def last_number_of(table: str, column: str) -> TextClause:
    """The last that was given out, whatever became of its row; 0 before the first."""
    last = text("SELECT coalesce(pg_sequence_last_value(to_regclass(pg_get_serial_sequence(:table, :column))), 0)")
    return last.bindparams(bindparam("table", table, Text()), bindparam("column", column, Text()))


def writers_of(table: str) -> TextClause:
    """Transactions that may have taken numbers, by names that none after them will have."""
    writers = text(
        "SELECT virtualtransaction FROM pg_locks WHERE relation = to_regclass(:table) AND mode = 'RowExclusiveLock'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return writers.bindparams(bindparam("table", table, Text()))
