"""The compute console: parse, call an action, render. No rule here."""
