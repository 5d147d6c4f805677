"""The platform's own certificates."""
