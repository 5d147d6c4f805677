"""Payment providers: the port, the signatures of their news, the sandbox, and which one is used.

Only these modules know a provider. What its news does to the books is in ``billing/settling.py``.
"""
