"""The storage port on a pool of a Ceph cluster."""
