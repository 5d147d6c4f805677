"""The catalogue of verbs: each one declared once, read by every place that offers it."""
