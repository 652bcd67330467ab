"""Doubles that are no kinder than the real thing. Production never imports this shelf.

Admission: the same contract suite passes against the double and the real thing.
"""
