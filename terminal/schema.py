import sys


def print_schema() -> None:
    """On standard output, sorted as the schema is."""
    from schema.api import schema  # slow to import, and no other command needs it

    sys.stdout.write(schema.as_str() + "\n")
