"""Billing in Django admin; Django finds the pages here. The books are read-only.

Buttons call the same actions as everybody else; nothing here writes money.
"""

from billing.admin import accounts, books, budgets, prices, quotas, statements

__all__ = ["accounts", "books", "budgets", "prices", "quotas", "statements"]
