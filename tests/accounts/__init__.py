"""Accounts: signing in and out, passwords, sessions, API keys."""
