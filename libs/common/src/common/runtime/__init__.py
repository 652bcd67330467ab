"""How a service lives: clock, settings, logs, database, bus, outbox, HTTP edge, start and stop.

Admission: at least two services use it today, one job a file, no business word inside.
"""
