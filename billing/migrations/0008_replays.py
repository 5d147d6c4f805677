"""What the nightly replays of the books find."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0007_held_hours'),
        ('tenancy', '0007_refund_pro_rata'),
    ]

    operations = [
        migrations.CreateModel(
            name='ReplayRun',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('begin', models.DateTimeField(verbose_name='from')),
                ('end', models.DateTimeField(unique=True, verbose_name='until')),
                ('started_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='started')),
                ('finished_at', models.DateTimeField(blank=True, null=True, verbose_name='finished')),
                ('done_upto', models.CharField(blank=True, max_length=20, verbose_name='done up to tenant')),
                ('tenants', models.PositiveIntegerField(default=0, verbose_name='tenants')),
                ('charges', models.PositiveBigIntegerField(default=0, verbose_name='charges')),
                ('differences', models.PositiveBigIntegerField(default=0, verbose_name='differences')),
            ],
            options={
                'verbose_name': 'replay of charges',
                'verbose_name_plural': 'replays of charges',
                'ordering': ['-end'],
                'indexes': [models.Index(condition=models.Q(('finished_at__isnull', True)), fields=['end'], name='replay_unfinished')],
                'constraints': [models.CheckConstraint(condition=models.Q(('end__gt', models.F('begin'))), name='replay_span')],
            },
        ),
        migrations.CreateModel(
            name='ReplayDifference',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('place', models.CharField(max_length=200, verbose_name='where')),
                ('what', models.CharField(max_length=60, verbose_name='figure')),
                ('stored', models.TextField(verbose_name='stored')),
                ('computed', models.TextField(verbose_name='computed')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenancy.tenant', verbose_name='tenant')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='found', to='billing.replayrun', verbose_name='replay')),
            ],
            options={
                'verbose_name': 'difference',
                'verbose_name_plural': 'differences',
                'ordering': ['id'],
            },
        ),
    ]
