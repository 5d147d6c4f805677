"""Prices, quotes, orders, the ledger, renewals and quotas.

Billing sits low on purpose: it knows a SKU, a quantity and an opaque resource kind and id.
What a resource *is* belongs to the layers above, which call the services here inside their own
transaction.
"""
