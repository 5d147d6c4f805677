"""The jobs that send notifications."""
