"""The `porchlight` command: real PostgreSQL, real Kafka and the four services on one machine, and the tools around them.

Read cli.py, local/supervisor.py and installation.py, in that order.
"""
