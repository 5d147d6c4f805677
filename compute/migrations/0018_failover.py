"""Failover: what clusters allow, what is known of hosts that are off, what is wanted of VMs.

The trigger that counts the changes of a VM counts those of its host by themselves too, so that
workers of the version before this one are counted.
"""

import django.core.validators
from django.db import migrations, models

COUNT = """
CREATE OR REPLACE FUNCTION compute_vm_count_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.revision := OLD.revision;
    NEW.epoch := OLD.epoch;
    IF (NEW.status, NEW.task, NEW.task_job, NEW.host_id, NEW.destination_id)
        IS DISTINCT FROM (OLD.status, OLD.task, OLD.task_job, OLD.host_id, OLD.destination_id)
    THEN
        NEW.revision := OLD.revision + 1;
    END IF;
    IF NEW.host_id IS DISTINCT FROM OLD.host_id THEN
        NEW.epoch := OLD.epoch + 1;
    END IF;
    RETURN NEW;
END $$;
"""
COUNT_AS_BEFORE = """
CREATE OR REPLACE FUNCTION compute_vm_count_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.revision := OLD.revision;
    IF (NEW.status, NEW.task, NEW.task_job, NEW.host_id, NEW.destination_id)
        IS DISTINCT FROM (OLD.status, OLD.task, OLD.task_job, OLD.host_id, OLD.destination_id)
    THEN
        NEW.revision := OLD.revision + 1;
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("compute", "0017_pool_room"),
    ]

    operations = [
        migrations.AddField(
            model_name="cluster",
            name="failover",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="A suspect host is switched off by its fence device, and its running VMs start on other hosts of the cluster once it is known to be off. Turn it on only when no worker or sweeper of an earlier release runs any more.",
                verbose_name="failover",
            ),
        ),
        migrations.AddField(
            model_name="cluster",
            name="failover_per_host",
            field=models.PositiveSmallIntegerField(
                db_default=4,
                default=4,
                help_text="How many VMs of failed hosts start on one host at the same time.",
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(100),
                ],
                verbose_name="failovers at once per host",
            ),
        ),
        migrations.AddField(
            model_name="host",
            name="failover_note",
            field=models.CharField(
                blank=True,
                db_default="",
                editable=False,
                max_length=300,
                verbose_name="failover",
            ),
        ),
        migrations.AddField(
            model_name="host",
            name="off_seen_at",
            field=models.DateTimeField(editable=False, null=True, verbose_name="seen to be off"),
        ),
        migrations.AddField(
            model_name="vm",
            name="epoch",
            field=models.PositiveBigIntegerField(
                db_default=0, default=0, editable=False, verbose_name="placement epoch"
            ),
        ),
        migrations.AddField(
            model_name="vm",
            name="failover_since",
            field=models.DateTimeField(
                editable=False, null=True, verbose_name="waiting for failover since"
            ),
        ),
        migrations.AddField(
            model_name="vm",
            name="wanted_power",
            field=models.CharField(
                blank=True,
                choices=[("on", "on"), ("off", "off")],
                db_default="",
                default="",
                editable=False,
                max_length=3,
                verbose_name="intended power state",
            ),
        ),
        migrations.AddIndex(
            model_name="vm",
            index=models.Index(
                condition=models.Q(("failover_since__isnull", False)),
                fields=["failover_since"],
                name="vm_waits_for_failover",
            ),
        ),
        migrations.RunSQL(COUNT, COUNT_AS_BEFORE),
    ]
