"""The hypervisor port on libvirt and QEMU. The only package that imports `libvirt`."""
