"""Job handlers: they make rows true on hosts and pools, step by idempotent step."""
