"""What reporting refuses over HTTP."""

from common.runtime.problems import Problem

BAD_INTERVAL = Problem(
    name="bad-interval",
    status=422,
    title="The interval has no length, or more than 400 days",
    way_out="Send `from` before `to`, both RFC 3339 with an offset, at most 400 days apart.",
)
PROBLEMS = (BAD_INTERVAL,)
