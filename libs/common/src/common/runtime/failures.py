"""Trouble that the world makes, and mistakes of our own. Refusals are values; what cannot be read is parked."""


class Retryable(Exception):
    """The world is not ready (database or broker away); the same work will be tried again."""


class InvariantBroken(AssertionError):
    """We made a mistake: stop, start again from what is committed."""
