"""Storage port: where volumes and images live. See `base` for the contract."""
