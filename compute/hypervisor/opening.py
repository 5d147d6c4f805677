"""Which driver a host has."""

from compute.hypervisor.base import HostRef, Hypervisor


def open_hypervisor(ref: HostRef) -> Hypervisor:
    """The driver for the host: `fake:` URIs give the in-memory one, others libvirt.

    Cheap: the connection is made at the first call, kept per process and shared by threads, and
    made anew after a fork or when it broke.
    """
    if ref.uri.startswith("fake:"):
        from compute.hypervisor.fake import open_fake

        return open_fake(ref)
    from compute.hypervisor.libvirt.driver import open_libvirt

    return open_libvirt(ref)
