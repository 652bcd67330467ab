"""Owns read models: contacts, segments, steps, stays.

Read main.py, consumers.py and domain.py, in that order.
"""
