"""How a code reaches a telephone."""

import sys
from typing import TextIO

from domain.refusals import Refused, Unavailable


class ConsoleMessages:
    """For the demo: whoever runs it reads the codes where the log goes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    async def send_code(self, phone: str, code: str) -> None:
        stream = self._stream or sys.stderr
        stream.write(f"\n    ✉  the code for {phone} is {code}\n\n")
        stream.flush()


class NoMessages:
    """Production before anybody has been chosen to send them."""

    async def send_code(self, phone: str, code: str) -> None:
        raise Refused(Unavailable("codes cannot be sent yet: sign in with a password"))
