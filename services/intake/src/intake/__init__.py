"""Owns contacts as accepted, their personal data, idempotency keys and API keys.

Read main.py, handlers.py and adapters/contacts.py, in that order.
"""
