"""The console's pages of monitoring."""
