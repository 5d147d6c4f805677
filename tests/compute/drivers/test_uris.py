"""Addresses of libvirt daemons: nothing in them may run."""

import pytest
from django.core.exceptions import ValidationError

from compute.hypervisor.base import HostUnreachable
from compute.hypervisor.libvirt.connection import _connect
from compute.models import Host
from scloud.lib.libvirt_uris import for_other_hosts, names_certificates, problem_of


@pytest.mark.parametrize(
    "uri",
    [
        "qemu+tcp://10.0.0.1/system",
        "qemu+tls://host-1.example.com:16514/system",
        "qemu+ssh://root@host-1/system",
        "qemu+ssh://root@host-1/system?no_tty=1&mode=direct",
        "qemu+tcp://[2001:db8::1]/system",
        "qemu+tls://host/session",
        "qemu+tls://host/system?pkipath=/etc/scloud/pki/workers/worker",
        "qemu+tls://[2001:db8::1]/system?pkipath=/run/scloud-lab/demo/pki/workers/worker",
    ],
)
def test_remote_daemons_are_reached(uri: str) -> None:
    assert problem_of(uri) == ""


@pytest.mark.parametrize(
    "uri",
    [
        "qemu+ssh://host/system?command=/tmp/evil",
        "qemu+ssh://host/system?COMMAND=/tmp/evil",
        "qemu+ssh://host/system?no_tty=1&netcat=/tmp/evil",
        "qemu+ssh://host/system?no_tty=1;netcat=/tmp/evil",
        "qemu+ssh://host/system?proxy=netcat",
        "qemu+tcp://host/system?socket=/run/evil",
        "qemu+ssh://host/system?keyfile=/etc/shadow",
        "qemu+tls://host/system?no_verify=1",
        "qemu+tls://host/system?pkipath=pki",
        "qemu+tls://host/system?pkipath=",
        "qemu+tls://host/system?pkipath=/",
        "qemu+tls://host/system?pkipath=/etc/../tmp",
        "qemu+tls://host/system?pkipath=/etc/.hidden",
        "qemu+tls://host/system?pkipath=/etc/pki/",
        "qemu+tls://host/system?pkipath=/etc/pki&pkipath=etc",
        "qemu+tls://host/system?PKIPATH=/etc/pki",
        "qemu+tls://host/system?pkipath=/etc/pki&no_verify=1",
        "qemu+ssh://host/system?pkipath=/etc/pki",
        "qemu+tcp://host/system?pkipath=/etc/pki",
        "qemu+ssh://host/system?known_hosts=/tmp/x",
        "qemu+ssh://host/system?known_hosts_verify=ignore",
        "qemu+ssh://host/system?%63ommand=/tmp/evil",
        "qemu+ssh://host/system?name=qemu:///system",
        "qemu+ssh://-oProxyCommand=evil/system",
        "qemu+ssh://-oProxyCommand=evil@host/system",
        "qemu+ssh://root:secret@host/system",
        "qemu+tcp://root@host/system",
        "qemu+ext://host/system?command=/tmp/evil",
        "qemu+libssh2://host/system",
        "qemu+unix:///system?socket=/run/evil",
        "qemu:///system",
        "qemu:///embed?root=/tmp",
        "test:///default",
        "ssh://host/system",
        "qemu+tcp:///system",
        "qemu+tcp://host/",
        "qemu+tcp://host/system#x",
        "qemu+tcp://host:0/system",
        "qemu+tcp://host:99999/system",
        "qemu+tcp://h\u00f6st/system",
        "qemu+tcp://host/system\n",
        "qemu+tcp://[fe80::1%25eth0]/system",
        "qemu+tcp://host name/system",
        "",
    ],
)
def test_everything_else_is_refused(uri: str) -> None:
    assert problem_of(uri)
    with pytest.raises(ValidationError) as refused:
        Host(name="h", uri=uri, address="192.0.2.1").clean()
    assert refused.value.message_dict["uri"]
    # A row that was written past the form reaches no library either.
    with pytest.raises(HostUnreachable, match="is not used"):
        _connect(uri)


def test_another_host_uses_certificates_of_its_own() -> None:
    ours = "qemu+tls://[2001:db8::1]:16514/system?mode=auto&pkipath=/etc/scloud/pki/workers/worker"
    assert for_other_hosts(ours) == "qemu+tls://[2001:db8::1]:16514/system?mode=auto"
    plain = "qemu+tcp://10.0.0.1/system"
    assert for_other_hosts(plain) == plain
    assert names_certificates(ours)
    for one in (plain, "qemu+ssh://root@10.0.0.1/system", "qemu+tls://10.0.0.1/system"):
        assert not names_certificates(one)
