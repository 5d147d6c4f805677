"""Where measurements are kept: a port, its drivers, and which one an installation has."""
