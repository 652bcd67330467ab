"""What the router refuses over HTTP."""

from common.runtime.problems import Problem

POOL_IS_FIXED = Problem(
    name="pool-is-fixed",
    status=409,
    title="A queue stays in its pool",
    way_out="Define another queue in the other pool and let new contacts go there.",
)
PROBLEMS = (POOL_IS_FIXED,)
