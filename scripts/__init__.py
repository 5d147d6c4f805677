"""What make calls, and Python parts of it."""
