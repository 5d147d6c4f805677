"""Which driver a pool has."""

from pathlib import Path

from compute.storage.base import Storage, StorageRef


def open_storage(ref: StorageRef) -> Storage:
    """The driver for the pool that `ref` names. Cheap; touches nothing."""
    if ref.kind == "fake":
        from compute.storage.fake import open_fake_storage

        return open_fake_storage(ref)
    if ref.kind == "rbd":
        from compute.storage.rbd.driver import RbdStorage

        return RbdStorage(ref)
    from compute.storage.dir import DirectoryStorage

    return DirectoryStorage(
        Path(ref.location),
        overlays=("snapshots", "overlays") in ref.options,
        pool_id=ref.pool_id,
        marker=ref.marker,
    )
