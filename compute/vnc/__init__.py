"""The screens of the VMs: tickets, the proxy for browsers, the gateway for VNC clients."""
