"""The verbs of compute, one file for each kind of resource; docs/adding-an-action.md shows how."""
