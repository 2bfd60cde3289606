"""Telephone numbers, by Google's metadata."""

import phonenumbers

LONGEST = 32


class E164Phones:
    """`region` is where a number without `+` is dialled."""

    def __init__(self, region: str = "IN") -> None:
        self._region = region

    def e164(self, phone: str) -> str | None:
        if len(phone) > LONGEST:
            return None
        try:
            number = phonenumbers.parse(phone, self._region)
        except phonenumbers.NumberParseException:
            return None
        # Possible, not valid: numbering plans grow faster than the metadata that comes with a release.
        if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
            return None
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
