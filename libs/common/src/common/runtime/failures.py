"""The two kinds of trouble that the world makes. Refusals are values, and our own mistakes crash."""


class Retryable(Exception):
    """The world is not ready (database or broker away); the same work will be tried again."""


class Poison(Exception):
    """This message can never work; park it."""


class InvariantBroken(AssertionError):
    """We made a mistake: stop, start again from what is committed."""
