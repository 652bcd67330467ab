"""Owns agents, skills, sessions, leases and the commands of agents.

Read main.py, handlers.py and inboxes.py, in that order.
"""
