"""Names of models, fields and choices; no column changes."""

import django.db.models.deletion
import django.utils.timezone
import scloud.jobs.models
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0003_error_detail'),
        ('tenancy', '0006_names'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='job',
            options={'ordering': ['-created_at', '-id'], 'verbose_name': 'job', 'verbose_name_plural': 'jobs'},
        ),
        migrations.AlterField(
            model_name='job',
            name='attempt',
            field=models.PositiveIntegerField(default=0, verbose_name='attempts'),
        ),
        migrations.AlterField(
            model_name='job',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='job',
            name='created_by',
            field=models.CharField(blank=True, max_length=320, verbose_name='started by'),
        ),
        migrations.AlterField(
            model_name='job',
            name='deadline',
            field=models.DateTimeField(verbose_name='deadline'),
        ),
        migrations.AlterField(
            model_name='job',
            name='error_code',
            field=models.CharField(blank=True, max_length=60, verbose_name='error code'),
        ),
        migrations.AlterField(
            model_name='job',
            name='error_detail',
            field=models.TextField(blank=True, db_default='', verbose_name='error detail'),
        ),
        migrations.AlterField(
            model_name='job',
            name='error_message',
            field=models.TextField(blank=True, verbose_name='error message'),
        ),
        migrations.AlterField(
            model_name='job',
            name='error_remedy',
            field=models.TextField(blank=True, verbose_name='remedy'),
        ),
        migrations.AlterField(
            model_name='job',
            name='exclusive',
            field=models.BooleanField(default=True, verbose_name='exclusive'),
        ),
        migrations.AlterField(
            model_name='job',
            name='finished_at',
            field=models.DateTimeField(null=True, verbose_name='finished'),
        ),
        migrations.AlterField(
            model_name='job',
            name='id',
            field=models.CharField(default=scloud.jobs.models.job_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='job',
            name='kind',
            field=models.CharField(max_length=60, verbose_name='type'),
        ),
        migrations.AlterField(
            model_name='job',
            name='lane',
            field=models.CharField(choices=[('short', 'Short'), ('long', 'Long')], db_default='short', default='short', max_length=10, verbose_name='lane'),
        ),
        migrations.AlterField(
            model_name='job',
            name='lease_owner',
            field=models.CharField(blank=True, max_length=80, verbose_name='worker'),
        ),
        migrations.AlterField(
            model_name='job',
            name='lease_until',
            field=models.DateTimeField(null=True, verbose_name='leased until'),
        ),
        migrations.AlterField(
            model_name='job',
            name='limit_s',
            field=models.PositiveIntegerField(null=True, verbose_name='time limit (s)'),
        ),
        migrations.AlterField(
            model_name='job',
            name='max_attempts',
            field=models.PositiveIntegerField(default=5, verbose_name='maximum number of attempts'),
        ),
        migrations.AlterField(
            model_name='job',
            name='not_before',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='not before'),
        ),
        migrations.AlterField(
            model_name='job',
            name='parked',
            field=models.JSONField(null=True, verbose_name='waiting'),
        ),
        migrations.AlterField(
            model_name='job',
            name='payload',
            field=models.JSONField(default=dict, verbose_name='input'),
        ),
        migrations.AlterField(
            model_name='job',
            name='progress_percent',
            field=models.PositiveSmallIntegerField(default=0, verbose_name='progress (%)'),
        ),
        migrations.AlterField(
            model_name='job',
            name='result',
            field=models.JSONField(default=dict, verbose_name='result'),
        ),
        migrations.AlterField(
            model_name='job',
            name='rung_at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='last wake-up'),
        ),
        migrations.AlterField(
            model_name='job',
            name='started_at',
            field=models.DateTimeField(null=True, verbose_name='started'),
        ),
        migrations.AlterField(
            model_name='job',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('succeeded', 'Succeeded'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='queued', max_length=10, verbose_name='status'),
        ),
        migrations.AlterField(
            model_name='job',
            name='step',
            field=models.CharField(blank=True, max_length=120, verbose_name='current step'),
        ),
        migrations.AlterField(
            model_name='job',
            name='steps',
            field=models.JSONField(default=list, verbose_name='steps'),
        ),
        migrations.AlterField(
            model_name='job',
            name='target_id',
            field=models.CharField(max_length=40, verbose_name='target ID'),
        ),
        migrations.AlterField(
            model_name='job',
            name='target_kind',
            field=models.CharField(max_length=30, verbose_name='target type'),
        ),
        migrations.AlterField(
            model_name='job',
            name='tenant',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='job',
            name='title',
            field=models.CharField(max_length=200, verbose_name='title'),
        ),
    ]
