"""Names of models, fields and choices; no column changes."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
import network.models.nic
import network.models.security
import network.models.vpc
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('network', '0003_words'),
        ('resources', '0002_names'),
        ('tenancy', '0006_names'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='privateaddress',
            options={'ordering': ['subnet', 'address'], 'verbose_name': 'private address', 'verbose_name_plural': 'private addresses'},
        ),
        migrations.AlterModelOptions(
            name='tombstone',
            options={'verbose_name': 'tombstone', 'verbose_name_plural': 'tombstones'},
        ),
        migrations.AlterField(
            model_name='networkdrift',
            name='detail',
            field=models.CharField(blank=True, max_length=500, verbose_name='detail'),
        ),
        migrations.AlterField(
            model_name='networkdrift',
            name='first_seen_at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='first seen'),
        ),
        migrations.AlterField(
            model_name='networkdrift',
            name='kind',
            field=models.CharField(max_length=40, verbose_name='type'),
        ),
        migrations.AlterField(
            model_name='networkdrift',
            name='last_seen_at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='last seen'),
        ),
        migrations.AlterField(
            model_name='networkdrift',
            name='problem',
            field=models.CharField(choices=[('differs', 'Missing or different in the fabric'), ('left_over', 'Still in the fabric after its deletion'), ('unknown', 'Marked as managed by SCloud, but unknown'), ('foreign', 'Created by another system')], max_length=10, verbose_name='problem'),
        ),
        migrations.AlterField(
            model_name='networkdrift',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='networkdrift',
            name='resolved_at',
            field=models.DateTimeField(null=True, verbose_name='resolved'),
        ),
        migrations.AlterField(
            model_name='networkdrift',
            name='target_id',
            field=models.CharField(max_length=100, verbose_name='target ID'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='applied_generation',
            field=models.PositiveIntegerField(default=0, editable=False, verbose_name='applied generation'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='generation',
            field=models.PositiveIntegerField(default=1, editable=False, verbose_name='generation'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='id',
            field=models.CharField(default=network.models.nic.nic_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='index',
            field=models.PositiveSmallIntegerField(blank=True, null=True, verbose_name='number'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='kind',
            field=models.CharField(choices=[('default', 'Default'), ('eni', 'Elastic')], default='default', max_length=7, verbose_name='type'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='mac',
            field=models.CharField(default=network.models.nic.random_mac, editable=False, max_length=17, unique=True, verbose_name='MAC address'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='network',
            field=models.CharField(choices=[('internal', 'Internal'), ('external', 'External')], default='internal', max_length=8, verbose_name='network'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='port_uuid',
            field=models.UUIDField(default=uuid.uuid4, editable=False, unique=True, verbose_name='port UUID'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='port_wanted',
            field=models.BooleanField(default=True, editable=False, verbose_name='port wanted'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='security_group',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='nics', to='network.securitygroup', verbose_name='security group'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='subnet',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='nics', to='network.subnet', verbose_name='subnet'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='sync_error',
            field=models.CharField(blank=True, editable=False, max_length=300, verbose_name='error'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='sync_error_detail',
            field=models.TextField(blank=True, db_default='', verbose_name='error detail'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='tags',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=60), blank=True, default=list, size=None, verbose_name='tags'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='nic',
            name='vm_id',
            field=models.CharField(blank=True, db_index=True, max_length=20, null=True, verbose_name='VM ID'),
        ),
        migrations.AlterField(
            model_name='privateaddress',
            name='address',
            field=models.GenericIPAddressField(protocol='ipv4', verbose_name='address'),
        ),
        migrations.AlterField(
            model_name='privateaddress',
            name='created_at',
            field=models.DateTimeField(auto_now_add=True, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='privateaddress',
            name='nic',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='addresses', to='network.nic', verbose_name='network interface'),
        ),
        migrations.AlterField(
            model_name='privateaddress',
            name='subnet',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='addresses', to='network.subnet', verbose_name='subnet'),
        ),
        migrations.AlterField(
            model_name='privateaddress',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='securitygroup',
            name='applied_generation',
            field=models.PositiveIntegerField(default=0, editable=False, verbose_name='applied generation'),
        ),
        migrations.AlterField(
            model_name='securitygroup',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='securitygroup',
            name='generation',
            field=models.PositiveIntegerField(default=1, editable=False, verbose_name='generation'),
        ),
        migrations.AlterField(
            model_name='securitygroup',
            name='id',
            field=models.CharField(default=network.models.security.security_group_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='securitygroup',
            name='is_default',
            field=models.BooleanField(default=False, editable=False, verbose_name='default'),
        ),
        migrations.AlterField(
            model_name='securitygroup',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='securitygroup',
            name='sync_error',
            field=models.CharField(blank=True, editable=False, max_length=300, verbose_name='error'),
        ),
        migrations.AlterField(
            model_name='securitygroup',
            name='sync_error_detail',
            field=models.TextField(blank=True, db_default='', verbose_name='error detail'),
        ),
        migrations.AlterField(
            model_name='securitygroup',
            name='tags',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=60), blank=True, default=list, size=None, verbose_name='tags'),
        ),
        migrations.AlterField(
            model_name='securitygroup',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='securitygrouprule',
            name='created_at',
            field=models.DateTimeField(auto_now_add=True, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='securitygrouprule',
            name='group',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rules', to='network.securitygroup', verbose_name='group'),
        ),
        migrations.AlterField(
            model_name='securitygrouprule',
            name='id',
            field=models.CharField(default=network.models.security.rule_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='securitygrouprule',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='subnet',
            name='applied_generation',
            field=models.PositiveIntegerField(default=0, editable=False, verbose_name='applied generation'),
        ),
        migrations.AlterField(
            model_name='subnet',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='subnet',
            name='dns_servers',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.GenericIPAddressField(protocol='ipv4'), blank=True, default=list, size=3, verbose_name='DNS servers'),
        ),
        migrations.AlterField(
            model_name='subnet',
            name='generation',
            field=models.PositiveIntegerField(default=1, editable=False, verbose_name='generation'),
        ),
        migrations.AlterField(
            model_name='subnet',
            name='id',
            field=models.CharField(default=network.models.vpc.subnet_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='subnet',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='subnet',
            name='sync_error',
            field=models.CharField(blank=True, editable=False, max_length=300, verbose_name='error'),
        ),
        migrations.AlterField(
            model_name='subnet',
            name='sync_error_detail',
            field=models.TextField(blank=True, db_default='', verbose_name='error detail'),
        ),
        migrations.AlterField(
            model_name='subnet',
            name='tags',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=60), blank=True, default=list, size=None, verbose_name='tags'),
        ),
        migrations.AlterField(
            model_name='subnet',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='subnet',
            name='vpc',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='subnets', to='network.vpc', verbose_name='VPC'),
        ),
        migrations.AlterField(
            model_name='tombstone',
            name='buried_at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='deleted'),
        ),
        migrations.AlterField(
            model_name='tombstone',
            name='kind',
            field=models.CharField(max_length=20, verbose_name='type'),
        ),
        migrations.AlterField(
            model_name='tombstone',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='tombstone',
            name='removed_at',
            field=models.DateTimeField(null=True, verbose_name='removed'),
        ),
        migrations.AlterField(
            model_name='tombstone',
            name='target_id',
            field=models.CharField(max_length=40, verbose_name='target ID'),
        ),
        migrations.AlterField(
            model_name='tombstone',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='vpc',
            name='applied_generation',
            field=models.PositiveIntegerField(default=0, editable=False, verbose_name='applied generation'),
        ),
        migrations.AlterField(
            model_name='vpc',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='vpc',
            name='generation',
            field=models.PositiveIntegerField(default=1, editable=False, verbose_name='generation'),
        ),
        migrations.AlterField(
            model_name='vpc',
            name='id',
            field=models.CharField(default=network.models.vpc.vpc_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='vpc',
            name='is_default',
            field=models.BooleanField(default=False, editable=False, verbose_name='default'),
        ),
        migrations.AlterField(
            model_name='vpc',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='vpc',
            name='sync_error',
            field=models.CharField(blank=True, editable=False, max_length=300, verbose_name='error'),
        ),
        migrations.AlterField(
            model_name='vpc',
            name='sync_error_detail',
            field=models.TextField(blank=True, db_default='', verbose_name='error detail'),
        ),
        migrations.AlterField(
            model_name='vpc',
            name='tags',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=60), blank=True, default=list, size=None, verbose_name='tags'),
        ),
        migrations.AlterField(
            model_name='vpc',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
    ]
