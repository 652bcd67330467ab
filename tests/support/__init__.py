"""Builders, and what several kinds of tests need."""
