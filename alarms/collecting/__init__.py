"""The collector: asks hosts and guests what they count, and writes it down."""
