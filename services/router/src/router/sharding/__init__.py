"""Who owns a shard, and the loop that decides for it: leases, rebuilding, batches, and what keeps one bad record from stopping it.

Read assignment.py, owner.py and worker.py, in that order.
"""
