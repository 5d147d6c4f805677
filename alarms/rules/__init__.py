"""Decisions about what was measured; pure functions."""
