"""Load balancing of clusters, and a row for each move of a VM.

A trigger writes the row, so that moves by workers of the version before this one are counted too.
"""

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


NOTE = """
CREATE FUNCTION compute_vm_note_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO compute_vmmove (vm_id, source_id, destination_id, at)
    VALUES (NEW.id, OLD.host_id, NEW.host_id, clock_timestamp());
    RETURN NULL;
END $$;
CREATE TRIGGER compute_vm_note_move AFTER UPDATE OF host_id ON compute_vm
    FOR EACH ROW WHEN (
        OLD.host_id IS NOT NULL AND NEW.host_id IS NOT NULL AND OLD.host_id <> NEW.host_id
    )
    EXECUTE FUNCTION compute_vm_note_move();
"""
FORGET = """
DROP TRIGGER compute_vm_note_move ON compute_vm;
DROP FUNCTION compute_vm_note_move();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('compute', '0026_ssh_key'),
    ]

    operations = [
        migrations.AddField(
            model_name='cluster',
            name='balance_cpu_percent',
            field=models.PositiveSmallIntegerField(db_default=80, default=80, help_text="Of the host's CPUs, measured over 10 minutes; what VMs wait for counts on top. A host at or above it is under load, and none goes above it by a move.", validators=[django.core.validators.MinValueValidator(20), django.core.validators.MaxValueValidator(100)], verbose_name='CPU threshold (%)'),
        ),
        migrations.AddField(
            model_name='cluster',
            name='balance_from',
            field=models.TimeField(blank=True, help_text='Leave both times empty to allow moves all day; they may go over midnight.', null=True, verbose_name='moves from'),
        ),
        migrations.AddField(
            model_name='cluster',
            name='balance_gain_percent',
            field=models.PositiveSmallIntegerField(db_default=15, default=15, help_text='After the move the destination has to be this far below what the source has now.', validators=[django.core.validators.MinValueValidator(5), django.core.validators.MaxValueValidator(80)], verbose_name='minimum gain (percentage points)'),
        ),
        migrations.AddField(
            model_name='cluster',
            name='balance_host_rest_min',
            field=models.PositiveSmallIntegerField(db_default=15, default=15, help_text='After any move from or to it, whoever ordered it, a host takes no part.', validators=[django.core.validators.MinValueValidator(10), django.core.validators.MaxValueValidator(1440)], verbose_name='rest of a host after a move (minutes)'),
        ),
        migrations.AddField(
            model_name='cluster',
            name='balance_memory_percent',
            field=models.PositiveSmallIntegerField(db_default=90, default=90, help_text="Of the host's memory, as it is in use, not as it was sold.", validators=[django.core.validators.MinValueValidator(20), django.core.validators.MaxValueValidator(100)], verbose_name='memory threshold (%)'),
        ),
        migrations.AddField(
            model_name='cluster',
            name='balance_mode',
            field=models.CharField(choices=[('off', 'Off'), ('dry_run', 'Dry run (proposals only)'), ('on', 'On (VMs are moved)')], db_default='off', default='off', help_text='Moves a running VM off a host that is over a threshold, one at a time. A dry run only writes down what it would move, and why. The page Load shows what it sees.', max_length=10, verbose_name='load balancing'),
        ),
        migrations.AddField(
            model_name='cluster',
            name='balance_steal_percent',
            field=models.PositiveSmallIntegerField(db_default=10, default=10, help_text="CPU time that VMs wanted and did not get, as a share of the host's CPUs. Not considered where vCPUs have a CPU limit: reaching it counts as waiting too.", validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(100)], verbose_name='steal threshold (%)'),
        ),
        migrations.AddField(
            model_name='cluster',
            name='balance_time_zone',
            field=models.CharField(db_default='UTC', default='UTC', help_text='Such as Europe/Berlin. Each cluster has its own.', max_length=40, verbose_name='time zone of these times'),
        ),
        migrations.AddField(
            model_name='cluster',
            name='balance_until',
            field=models.TimeField(blank=True, null=True, verbose_name='moves until'),
        ),
        migrations.AddField(
            model_name='cluster',
            name='balance_vm_rest_min',
            field=models.PositiveSmallIntegerField(db_default=240, default=240, help_text='After any move, whoever ordered it, a VM is left where it is.', validators=[django.core.validators.MinValueValidator(10), django.core.validators.MaxValueValidator(20160)], verbose_name='rest of a VM after a move (minutes)'),
        ),
        migrations.CreateModel(
            name='BalanceProposal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('reason', models.CharField(max_length=500, verbose_name='reason')),
                ('at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='at')),
                ('last_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='last proposed')),
                ('times', models.PositiveIntegerField(default=1, verbose_name='times')),
                ('job', models.CharField(blank=True, default='', max_length=20, verbose_name='job')),
                ('cluster', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='proposals', to='compute.cluster', verbose_name='cluster')),
                ('destination', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='compute.host', verbose_name='to')),
                ('source', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='compute.host', verbose_name='from')),
                ('vm', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='compute.vm', verbose_name='VM')),
            ],
            options={
                'verbose_name': 'move because of load',
                'verbose_name_plural': 'moves because of load',
                'ordering': ['-last_at', '-id'],
                'indexes': [models.Index(fields=['cluster', '-last_at'], name='balance_proposal_cluster'), models.Index(condition=models.Q(('job', ''), _negated=True), fields=['last_at'], name='balance_proposal_ordered')],
            },
        ),
        migrations.CreateModel(
            name='VmMove',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(verbose_name='at')),
                ('destination', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='compute.host', verbose_name='to')),
                ('source', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='compute.host', verbose_name='from')),
                ('vm', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, related_name='moves', to='compute.vm', verbose_name='VM')),
            ],
            options={
                'verbose_name': 'move of a VM',
                'verbose_name_plural': 'moves of VMs',
                'ordering': ['-at', '-id'],
                'indexes': [models.Index(fields=['at'], name='vm_move_at')],
            },
        ),
        migrations.RunSQL(NOTE, FORGET),
    ]
