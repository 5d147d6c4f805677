"""Switching a host off and on from outside, and making sure that it is so."""
