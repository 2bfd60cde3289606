"""What people write, before it is kept."""

import unicodedata

from domain.refusals import invalid


def line(path: str, text: str, most: int, *, least: int = 1) -> str:
    """Without the blanks around it. Refuses InvalidInput for what is too short or too long, or is no text: a control
    character, or half of a surrogate pair, which JSON can carry and PostgreSQL cannot keep.
    """
    said = text.strip()
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in said):
        raise invalid(path, "has characters that are no text")
    if not least <= len(said) <= most:
        raise invalid(path, f"must have from {least} to {most} characters")
    return said
