"""Owns queues and policies, live contacts, offers, assignments and the routing log.

Read main.py, sharding/worker.py and core/engine.py, in that order.
"""
