"""What is claimed about speed, measured: ``python -m tests.bench``."""
