"""Hypervisor port: what SCloud asks of one host. See `base` for the contract."""
