"""The shapes of the verbs of VMs that take input."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from compute.api.serializers.disks import DetachInput
from scloud.rest.fields import Lines, WholeNumber


class VmAttachInput(serializers.Serializer[Any]):
    """The disk that is attached."""

    disk = serializers.CharField(max_length=20)


class VmDetachInput(DetachInput):
    """The disk that is detached."""

    disk = serializers.CharField(max_length=20)


class ChangeLineShape(serializers.Serializer[Any]):
    """The difference of one SKU for the rest of the paid time."""

    sku = serializers.CharField()
    quantity = serializers.CharField()
    unit_price = serializers.CharField()
    periods = serializers.CharField()
    discount = serializers.CharField()
    amount = serializers.CharField()


class ChangeQuoteShape(serializers.Serializer[Any]):
    """What a change costs now (``total``) and for a period from then on."""

    currency = serializers.CharField()
    billing_method = serializers.CharField()
    lines = ChangeLineShape(many=True)
    total = serializers.CharField()
    effective = serializers.CharField()
    per_period_before = serializers.CharField()
    per_period = serializers.CharField()
    balance = serializers.CharField()
    balance_after = serializers.CharField()
    affordable = serializers.BooleanField()
    paid_until = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    token = serializers.CharField()


# --- verbs of a VM with input


class PasswordInput(serializers.Serializer[Any]):
    """A new password of the VM's administrator."""

    password = serializers.CharField(max_length=200, write_only=True, trim_whitespace=False)


class ReinstallInput(serializers.Serializer[Any]):
    """The image, and what shall differ from before."""

    image = serializers.CharField(max_length=20)
    password = serializers.CharField(
        max_length=200, required=False, write_only=True, trim_whitespace=False
    )
    ssh_public_key = Lines(max_length=100_000, required=False, allow_blank=True)


class VmSizeInput(serializers.Serializer[Any]):
    """One of the sizes that the model offers."""

    vcpus = WholeNumber(min_value=1, max_value=255)
    memory_mib = WholeNumber(min_value=64)


class VmSizePurchaseInput(VmSizeInput):
    """Another size at exactly the quoted price."""

    quote_token = serializers.CharField(max_length=2000, help_text="From the quote before.")


class MakeImageInput(serializers.Serializer[Any]):
    """What the image is called."""

    name = serializers.CharField(max_length=200)
    remark = serializers.CharField(max_length=1000, default="", allow_blank=True)


class SecurityGroupsInput(serializers.Serializer[Any]):
    """The groups from now on; null for none, which leaves the NIC unfiltered."""

    internal = serializers.CharField(max_length=20, allow_null=True)
    external = serializers.CharField(max_length=20, allow_null=True)


class VncInformationShape(serializers.Serializer[Any]):
    """What a VNC client needs; the password is shown this once."""

    vm_id = serializers.CharField()
    address = serializers.CharField()
    port = serializers.IntegerField()
    password = serializers.CharField()
    expires_at = serializers.DateTimeField()
