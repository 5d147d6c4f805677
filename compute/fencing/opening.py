"""Which port a device has."""

from compute.fencing.base import AgentKind, DeviceRef, FencePort


def open_fence(ref: DeviceRef) -> FencePort:
    """The port of a device. Cheap; touches nothing."""
    if ref.agent is AgentKind.FAKE:
        from compute.fencing.fake import open_fake_device

        return open_fake_device(ref)
    from compute.fencing.agents import AgentDevice

    return AgentDevice(ref)
