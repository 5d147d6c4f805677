"""Templates of quotas."""

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0013_quota_steps'),
        ('resources', '0004_underlay_mtu'),
        ('tenancy', '0007_refund_pro_rata'),
    ]

    operations = [
        migrations.CreateModel(
            name='QuotaTemplate',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=60, unique=True, verbose_name='name')),
                ('note', models.CharField(blank=True, max_length=200, verbose_name='note')),
            ],
            options={
                'verbose_name': 'quota template',
                'verbose_name_plural': 'quota templates',
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='QuotaTemplateUse',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('applied_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='applied')),
                ('template', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='uses', to='billing.quotatemplate', verbose_name='quota template')),
                ('tenant', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='quota_template_use', to='tenancy.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'use of a quota template',
                'verbose_name_plural': 'uses of quota templates',
                'ordering': ['tenant'],
            },
        ),
        migrations.CreateModel(
            name='QuotaTemplateLimit',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('item', models.CharField(choices=[('vms', 'VMs'), ('vcpu', 'vCPU'), ('memory_gib', 'Memory (GB)'), ('gpus', 'GPUs'), ('disks', 'Disks'), ('disk_gib', 'Disk space (GB)'), ('snapshots', 'Snapshots'), ('images', 'Images'), ('image_gib', 'Image storage (GB)'), ('bin_gib', 'Recycle bin (GB)'), ('eips', 'External IPs'), ('bandwidth_mbps', 'Bandwidth (Mb/s)'), ('vpcs', 'VPCs'), ('subnets', 'Subnets'), ('enis', 'ENIs'), ('security_groups', 'Security groups')], max_length=20, verbose_name='quota')),
                ('limit', models.BigIntegerField(validators=[django.core.validators.MinValueValidator(0)], verbose_name='limit')),
                ('region', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='resources.region', verbose_name='region')),
                ('template', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='limits', to='billing.quotatemplate', verbose_name='template')),
            ],
            options={
                'verbose_name': 'limit of a template',
                'verbose_name_plural': 'limits of a template',
                'ordering': ['region', 'item'],
                'constraints': [models.UniqueConstraint(fields=('template', 'region', 'item'), name='quota_template_limit_once', nulls_distinct=False), models.CheckConstraint(condition=models.Q(('limit__gte', 0)), name='quota_template_not_negative')],
            },
        ),
    ]
