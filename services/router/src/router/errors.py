"""What the router refuses over HTTP."""

from common.runtime.problems import Problem

POOL_IS_FIXED = Problem(
    name="pool-is-fixed",
    status=409,
    title="A queue stays in its pool",
    way_out="Define another queue in the other pool and let new contacts go there.",
)
POLICY_CANNOT_WORK = Problem(
    name="policy-cannot-work",
    status=422,
    title="The policy fits its schema and cannot work",
    way_out="See `errors`: each names the path and the reason. Nothing was saved; the queue is as it was.",
)
PROBLEMS = (POOL_IS_FIXED, POLICY_CANNOT_WORK)
