"""What is measured, in the form in which Prometheus fetches it."""
