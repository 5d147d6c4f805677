"""The operators' console: Django admin with the platform's own site."""
