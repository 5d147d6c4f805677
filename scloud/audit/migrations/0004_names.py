"""Names of models, fields and choices; no column changes."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('audit', '0003_operation_detail'),
        ('tenancy', '0006_names'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='event',
            options={'ordering': ['-at', '-id'], 'verbose_name': 'event', 'verbose_name_plural': 'events'},
        ),
        migrations.AlterModelOptions(
            name='operation',
            options={'ordering': ['-at', '-id'], 'verbose_name': 'operation', 'verbose_name_plural': 'operations'},
        ),
        migrations.AlterField(
            model_name='event',
            name='at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='time'),
        ),
        migrations.AlterField(
            model_name='event',
            name='data',
            field=models.JSONField(default=dict, verbose_name='data'),
        ),
        migrations.AlterField(
            model_name='event',
            name='kind',
            field=models.CharField(max_length=60, verbose_name='type'),
        ),
        migrations.AlterField(
            model_name='event',
            name='resource_id',
            field=models.CharField(max_length=40, verbose_name='resource ID'),
        ),
        migrations.AlterField(
            model_name='event',
            name='resource_kind',
            field=models.CharField(max_length=30, verbose_name='resource type'),
        ),
        migrations.AlterField(
            model_name='event',
            name='tenant',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='operation',
            name='actor',
            field=models.CharField(max_length=320, verbose_name='performed by'),
        ),
        migrations.AlterField(
            model_name='operation',
            name='after',
            field=models.JSONField(null=True, verbose_name='after'),
        ),
        migrations.AlterField(
            model_name='operation',
            name='at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='time'),
        ),
        migrations.AlterField(
            model_name='operation',
            name='batch',
            field=models.BigIntegerField(editable=False, null=True, verbose_name='seal'),
        ),
        migrations.AlterField(
            model_name='operation',
            name='before',
            field=models.JSONField(null=True, verbose_name='before'),
        ),
        migrations.AlterField(
            model_name='operation',
            name='detail',
            field=models.TextField(blank=True, db_default='', verbose_name='error detail'),
        ),
        migrations.AlterField(
            model_name='operation',
            name='error_code',
            field=models.CharField(blank=True, max_length=60, verbose_name='error code'),
        ),
        migrations.AlterField(
            model_name='operation',
            name='error_message',
            field=models.TextField(blank=True, verbose_name='error message'),
        ),
        migrations.AlterField(
            model_name='operation',
            name='ip',
            field=models.GenericIPAddressField(null=True, verbose_name='IP address'),
        ),
        migrations.AlterField(
            model_name='operation',
            name='request_id',
            field=models.CharField(blank=True, max_length=20, verbose_name='request ID'),
        ),
        migrations.AlterField(
            model_name='operation',
            name='resources',
            field=models.JSONField(default=list, verbose_name='resources'),
        ),
        migrations.AlterField(
            model_name='operation',
            name='succeeded',
            field=models.BooleanField(verbose_name='succeeded'),
        ),
        migrations.AlterField(
            model_name='operation',
            name='tenant',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='operation',
            name='user_id',
            field=models.BigIntegerField(null=True, verbose_name='user ID'),
        ),
        migrations.AlterField(
            model_name='operation',
            name='verb',
            field=models.CharField(max_length=60, verbose_name='verb'),
        ),
        migrations.AlterField(
            model_name='operation',
            name='via',
            field=models.CharField(max_length=10, verbose_name='through'),
        ),
    ]
