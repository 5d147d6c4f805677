"""The operation log: what the database refuses, and what the seals show."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, connections, transaction
from django.utils import timezone

from scloud.audit import sealing
from scloud.audit.models import Operation, Pruning, Seal
from scloud.tenancy.models import Tenant

pytestmark = pytest.mark.usefixtures("unscoped")

Write = Callable[..., Operation]


@pytest.fixture
def write(tenant: Tenant) -> Write:
    """Return a function that writes an entry."""

    def make(**values: Any) -> Operation:
        entry: Operation = Operation.objects.create(
            **{
                "tenant": tenant,
                "actor": "owner@acme.test",
                "via": "console",
                "ip": "192.0.2.7",
                "verb": "compute.start_vm",
                "resources": [{"kind": "vm", "id": "vm-1", "name": "wéb \u0928"}],
                "before": {"b": 1.5, "a": [None, True]},
                "succeeded": True,
                **values,
            }
        )
        return entry

    return make


def run(sql: str, *values: Any) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, list(values))


def behind_the_guards(sql: str, *values: Any) -> None:
    """Do what only a superuser can: write with the triggers switched off."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(sql, list(values))
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")


def old(write: Write, days: int) -> Operation:
    return write(at=timezone.now() - timedelta(days=days))


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_operation SET actor = 'nobody@acme.test'",
        "UPDATE audit_operation SET batch = 99, actor = 'nobody@acme.test'",
        "UPDATE audit_operation SET batch = 1",
        "UPDATE audit_operation SET batch = NULL",
        "DELETE FROM audit_operation",
        "TRUNCATE audit_operation",
        "TRUNCATE audit_operation CASCADE",
        "UPDATE audit_seal SET hash = 'x'",
        "DELETE FROM audit_seal",
        "TRUNCATE audit_seal CASCADE",
        "TRUNCATE audit_pruning",
        "INSERT INTO audit_pruning (seal_id, pruned_at) VALUES (1, now())",
        "INSERT INTO audit_seal SELECT 7, count, last_at, form, hash, 'x', now() FROM audit_seal",
        "INSERT INTO audit_seal SELECT 2, count, last_at, form, hash, 'x', now() FROM audit_seal",
    ],
)
def test_the_database_refuses_what_would_change_the_log(write: Write, sql: str) -> None:
    write()
    assert sealing.seal() == 1
    write()
    # Otherwise checks that wait for the end of the test would keep TRUNCATE out by themselves.
    run("SET CONSTRAINTS ALL IMMEDIATE")
    with pytest.raises(IntegrityError):
        run(sql)
    assert sealing.verify() is None
    assert Operation.objects.count() == 2


def test_an_entry_that_says_its_batch_itself_is_refused(write: Write) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        write(batch=1)


def test_batches_follow_each_other_and_a_late_entry_falls_into_the_next(write: Write) -> None:
    late = write()
    behind_the_guards("UPDATE audit_operation SET id = id + 1000 WHERE id = %s", late.pk)
    first = [write() for _ in range(3)]
    assert sealing.seal() == 4
    behind_the_guards("UPDATE audit_operation SET batch = NULL WHERE id = %s", first[0].pk)
    behind_the_guards("DELETE FROM audit_seal")
    behind_the_guards("UPDATE audit_operation SET batch = NULL")
    sealing.seal()
    assert sealing.seal() == 0
    write()
    assert sealing.seal() == 1
    one, two = Seal.objects.order_by("number")
    assert (one.count, two.count, two.previous_hash) == (4, 1, one.hash)
    assert sealing.verify() is None


def test_large_logs_are_sealed_in_several_batches(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "BATCH_ROWS", 2)
    for _ in range(5):
        write()
    assert sealing.seal() == 5
    assert [seal.count for seal in Seal.objects.order_by("number")] == [2, 2, 1]
    assert sealing.verify() is None


def test_the_words_for_operators_are_sealed_too(write: Write) -> None:
    write()
    sealing.seal()
    write(detail="From one to two.")
    write()
    sealing.seal()
    # A release that knows no details reads the batches without any.
    assert list(Seal.objects.order_by("number").values_list("form", flat=True)) == [1, 2]
    assert sealing.verify() is None
    with pytest.raises(IntegrityError):
        run("UPDATE audit_operation SET detail = '' WHERE batch = 2")
    behind_the_guards("UPDATE audit_operation SET detail = '' WHERE batch = 2")
    broken = sealing.verify()
    assert broken is not None
    assert broken.number == 2


@pytest.mark.parametrize(
    ("damage", "broken", "reason"),
    [
        ("UPDATE audit_operation SET actor = 'x' WHERE batch = 2", 2, "not those that were sealed"),
        ("UPDATE audit_operation SET ip = '192.0.2.8' WHERE batch = 3", 3, "not those"),
        ("UPDATE audit_operation SET before = '{}' WHERE batch = 1", 1, "not those"),
        ("DELETE FROM audit_operation WHERE batch = 2", 2, "0 entries instead of 1"),
        ("DELETE FROM audit_seal WHERE number = 2", 3, "the batch before is missing"),
        ("DELETE FROM audit_seal WHERE number = 3", 3, "its seal is missing"),
        ("UPDATE audit_seal SET hash = repeat('0', 64) WHERE number = 1", 1, "not those"),
        ("UPDATE audit_seal SET previous_hash = '' WHERE number = 2", 2, "not sealed onto"),
    ],
)
def test_the_first_broken_batch_is_named(
    write: Write, damage: str, broken: int, reason: str
) -> None:
    for _ in range(3):
        write()
        sealing.seal()
    assert sealing.verify() is None
    behind_the_guards(damage)
    found = sealing.verify()
    assert found is not None
    assert found.number == broken
    assert reason in found.reason
    with pytest.raises(CommandError, match=f"Batch {broken} is broken"):
        call_command("verify_log")


def test_a_chain_that_was_computed_anew_does_not_end_in_the_known_hash(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write()
    sealing.seal()
    call_command("verify_log")
    line = next(t for t in capsys.readouterr().out.splitlines() if t.startswith("Last: "))
    known = line.removeprefix("Last: ")
    call_command("verify_log", known=[(1, known.split(":")[1])])
    behind_the_guards("UPDATE audit_operation SET actor = 'x', batch = NULL")
    behind_the_guards("DELETE FROM audit_seal")
    sealing.seal()
    call_command("verify_log")
    with pytest.raises(CommandError, match="Batch 1 is broken: its hash is not the known one"):
        call_command("verify_log", known=[(1, known.split(":")[1])])


def test_a_chain_that_ends_early_is_found_by_a_hash_that_was_kept(write: Write) -> None:
    """Whoever takes away the last batches with their entries leaves a sound chain behind."""
    for _ in range(3):
        write()
        sealing.seal()
    known = {seal.number: seal.hash for seal in Seal.objects.all()}
    behind_the_guards("DELETE FROM audit_operation WHERE batch >= 2")
    behind_the_guards("DELETE FROM audit_seal WHERE number >= 2")
    assert sealing.verify() is None
    assert sealing.verify({1: known[1]}) is None
    assert sealing.verify(known) == sealing.Broken(2, "the batch is missing")
    with pytest.raises(CommandError, match="Batch 3 is broken: the batch is missing"):
        call_command("verify_log", known=[(3, known[3])])


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_pruning SET pruned_at = now() - interval '1 day'",
        "UPDATE audit_pruning SET seal_id = 2",
        "DELETE FROM audit_pruning",
        "TRUNCATE audit_pruning",
        "TRUNCATE audit_seal CASCADE",
    ],
)
def test_the_database_refuses_what_would_hide_a_pruning(write: Write, sql: str) -> None:
    for _ in range(2):
        old(write, 200)
        sealing.seal()
    assert sealing.prune() == 2
    run("SET CONSTRAINTS ALL IMMEDIATE")
    with pytest.raises(IntegrityError, match="never changed or deleted"):
        run(sql)
    assert Pruning.objects.count() == 2
    assert sealing.verify() is None


def test_whole_old_batches_are_pruned_and_the_chain_stays(write: Write) -> None:
    old(write, 200)
    old(write, 190)
    sealing.seal()
    old(write, 200)
    young = old(write, 100)
    sealing.seal()
    assert sealing.prune() == 2
    assert sealing.prune() == 0
    assert Pruning.objects.get().seal_id == 1
    assert young in Operation.objects.all()
    assert Operation.objects.count() == 2
    assert sealing.verify() is None
    write()
    sealing.seal()
    assert sealing.verify() is None


def test_the_database_itself_keeps_young_batches(write: Write) -> None:
    old(write, 170)
    sealing.seal()
    with pytest.raises(IntegrityError, match="kept for 6 months"), transaction.atomic():
        Pruning.objects.create(seal_id=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        Operation.objects.filter(batch=1).delete()


def test_a_half_pruned_batch_is_broken(write: Write) -> None:
    old(write, 200)
    sealing.seal()
    Pruning.objects.create(seal_id=1)
    found = sealing.verify()
    assert found == sealing.Broken(1, "entries are left of a pruned batch")


@pytest.mark.django_db(transaction=True)
def test_no_request_waits_for_the_seal(write: Write) -> None:
    write()
    done = threading.Event()

    def request() -> None:
        from scloud.tenancy.scoping import scopes_disabled

        with scopes_disabled():
            write()
        done.set()
        connections.close_all()

    with transaction.atomic():
        assert sealing.seal() == 1
        other = threading.Thread(target=request)
        other.start()
        assert done.wait(10), "an entry waited for the seal"
        other.join()
    assert sealing.seal() == 1
    assert sealing.verify() is None
