"""From what hosts and guests say to numbers. Pure functions: no database, no clock, no host."""
