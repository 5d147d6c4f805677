"""A region in a box: libvirt hosts as namespaces, OVN, images and PostgreSQL on one machine."""
