"""The verbs of the network, one file for each pair of kinds; see docs/adding-an-action.md."""
