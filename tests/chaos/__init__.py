"""Random verbs of three tenants on the region in a box, while its processes are killed."""
