"""Queues and their policies as administrators define them: whether a policy can work, and when a queue is open."""
