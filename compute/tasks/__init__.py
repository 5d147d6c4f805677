"""Job handlers: they apply rows to hosts and pools, step by idempotent step."""
