import pytest

from schema.errors import without_values

LIKED = "Variable '$a' has invalid value at .role: Value 'COOK' does not exist in 'App' enum."


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        (
            "Variable '$a' has invalid value at .point: Expected value of type 'PointInput' to be an object, found: 'Lake Road'.",
            "Variable '$a' has invalid value at .point: Expected value of type 'PointInput' to be an object",
        ),
        (
            "Expected value of type 'AddressInput' not to include unknown field 'line3'. Did you mean 'line1'? Found: {'a': 'x'}.",
            "Expected value of type 'AddressInput' not to include unknown field 'line3'. Did you mean 'line1'?",
        ),
        (
            "Int cannot represent non 32-bit signed integer value: 98765432100",
            "Int cannot represent non 32-bit signed integer value",
        ),
        ("String cannot represent a non string value: {phone: 1}", "String cannot represent a non string value"),
        ("Syntax Error: Expected Name, found String 'pass word'.", "Syntax Error: Expected Name, found String"),
        (LIKED, LIKED),
    ],
)
def test_what_was_sent_is_not_repeated_in_an_error(said, answered):
    assert without_values(said) == answered
