"""Decisions about what was measured."""
