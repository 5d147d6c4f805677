"""Sending one message: by e-mail, or to a webhook. Neither knows of jobs."""
