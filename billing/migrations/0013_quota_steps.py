"""Raises of quotas that expire, and those that two administrators approve."""

import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0012_budgets'),
        ('resources', '0004_underlay_mtu'),
        ('tenancy', '0007_refund_pro_rata'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='QuotaApprovalLimit',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('item', models.CharField(choices=[('vms', 'VMs'), ('vcpu', 'vCPU'), ('memory_gib', 'Memory (GB)'), ('gpus', 'GPUs'), ('disks', 'Disks'), ('disk_gib', 'Disk space (GB)'), ('snapshots', 'Snapshots'), ('images', 'Images'), ('image_gib', 'Image storage (GB)'), ('bin_gib', 'Recycle bin (GB)'), ('eips', 'External IPs'), ('bandwidth_mbps', 'Bandwidth (Mb/s)'), ('vpcs', 'VPCs'), ('subnets', 'Subnets'), ('enis', 'ENIs'), ('security_groups', 'Security groups')], max_length=20, unique=True, verbose_name='quota')),
                ('above', models.BigIntegerField(help_text='A request for more than this needs the approval of two administrators.', validators=[django.core.validators.MinValueValidator(0)], verbose_name='second administrator above')),
            ],
            options={
                'verbose_name': 'approval limit of quotas',
                'verbose_name_plural': 'approval limits of quotas',
                'ordering': ['item'],
            },
        ),
        migrations.AddField(
            model_name='quotarequest',
            name='expires_at',
            field=models.DateTimeField(null=True, verbose_name='holds until'),
        ),
        migrations.AddField(
            model_name='quotarequest',
            name='first_approved_at',
            field=models.DateTimeField(null=True, verbose_name='first approved'),
        ),
        migrations.AddField(
            model_name='quotarequest',
            name='first_approved_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='first approved by'),
        ),
        migrations.AddField(
            model_name='quotarequest',
            name='told_days',
            field=models.PositiveSmallIntegerField(editable=False, null=True, verbose_name='told days before'),
        ),
        migrations.AddIndex(
            model_name='quotarequest',
            index=models.Index(condition=models.Q(('expires_at__isnull', False), ('status', 'approved')), fields=['tenant', 'region', 'expires_at'], name='quota_raise'),
        ),
        migrations.AddConstraint(
            model_name='quotaapprovallimit',
            constraint=models.CheckConstraint(condition=models.Q(('above__gte', 0)), name='quota_approval_not_negative'),
        ),
    ]
