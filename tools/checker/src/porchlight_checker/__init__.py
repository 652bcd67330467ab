"""The history checker: reads what every part of the platform left behind, and says what of it cannot be true.

It imports the contracts of facts and nothing else of the platform: an oracle must not call what it judges. Read history.py
and check.py, in that order.
"""
