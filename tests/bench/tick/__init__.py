"""A job that only writes down when it was started."""
