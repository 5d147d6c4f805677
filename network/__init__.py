"""VPCs, subnets, private addresses, network interfaces and security groups."""
