"""The console's pages of the network."""
