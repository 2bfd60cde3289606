class Problem(Exception):
    """What stopped us and what to do about it, each one line for the person at the terminal."""

    def __init__(self, what: str, todo: str) -> None:
        super().__init__(f"{what}: {todo}")
        self.what = what
        self.todo = todo
