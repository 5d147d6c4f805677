"""Monitoring in the API."""
