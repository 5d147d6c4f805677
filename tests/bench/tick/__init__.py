"""Jobs without hosts, for measuring how jobs get their turn."""
