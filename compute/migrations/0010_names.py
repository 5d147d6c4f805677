"""Names of models, fields and choices; no column changes."""

import compute.models.disk
import compute.models.image
import compute.models.platform
import compute.models.snapshot
import compute.models.vm
import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('compute', '0009_words'),
        ('resources', '0002_names'),
        ('tenancy', '0006_names'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='disk',
            options={'ordering': ['-created_at', 'id'], 'verbose_name': 'disk', 'verbose_name_plural': 'disks'},
        ),
        migrations.AlterModelOptions(
            name='disktype',
            options={'ordering': ['position', 'alias'], 'verbose_name': 'disk type', 'verbose_name_plural': 'disk types'},
        ),
        migrations.AlterModelOptions(
            name='host',
            options={'ordering': ['name'], 'verbose_name': 'host', 'verbose_name_plural': 'hosts'},
        ),
        migrations.AlterModelOptions(
            name='image',
            options={'ordering': ['position', 'name'], 'verbose_name': 'image', 'verbose_name_plural': 'images'},
        ),
        migrations.AlterModelOptions(
            name='snapshot',
            options={'ordering': ['-created_at', 'id'], 'verbose_name': 'snapshot', 'verbose_name_plural': 'snapshots'},
        ),
        migrations.AlterModelOptions(
            name='spec',
            options={'ordering': ['vcpus', 'memory_mib'], 'verbose_name': 'size', 'verbose_name_plural': 'sizes'},
        ),
        migrations.AlterModelOptions(
            name='storagepool',
            options={'ordering': ['id'], 'verbose_name': 'storage pool', 'verbose_name_plural': 'storage pools'},
        ),
        migrations.AlterField(
            model_name='cluster',
            name='applied_cpu_quota_percent',
            field=models.PositiveSmallIntegerField(editable=False, null=True, verbose_name='applied CPU limit per vCPU (%)'),
        ),
        migrations.AlterField(
            model_name='cluster',
            name='applied_cpu_shares_per_vcpu',
            field=models.PositiveIntegerField(editable=False, null=True, verbose_name='applied CPU shares per vCPU'),
        ),
        migrations.AlterField(
            model_name='cluster',
            name='architecture',
            field=models.CharField(choices=[('x86_64', 'x86_64'), ('aarch64', 'aarch64 (ARM)')], default='x86_64', max_length=10, verbose_name='architecture'),
        ),
        migrations.AlterField(
            model_name='cluster',
            name='cpu_quota_percent',
            field=models.PositiveSmallIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(5), django.core.validators.MaxValueValidator(100)], verbose_name='CPU limit per vCPU (%)'),
        ),
        migrations.AlterField(
            model_name='cluster',
            name='cpu_shares_per_vcpu',
            field=models.PositiveIntegerField(default=1024, validators=[django.core.validators.MinValueValidator(2), django.core.validators.MaxValueValidator(262144)], verbose_name='CPU shares per vCPU'),
        ),
        migrations.AlterField(
            model_name='cluster',
            name='enabled',
            field=models.BooleanField(default=True, verbose_name='enabled'),
        ),
        migrations.AlterField(
            model_name='cluster',
            name='gpu_type',
            field=models.CharField(blank=True, choices=[('', 'none'), ('K80', 'NVIDIA K80'), ('P40', 'NVIDIA P40'), ('V100', 'NVIDIA V100'), ('2080', 'NVIDIA 2080'), ('2080Ti', 'NVIDIA 2080Ti'), ('T4', 'NVIDIA T4'), ('Atlas300', 'Huawei Atlas300')], default='', max_length=10, verbose_name='GPU model'),
        ),
        migrations.AlterField(
            model_name='cluster',
            name='id',
            field=models.CharField(max_length=30, primary_key=True, serialize=False, validators=[django.core.validators.RegexValidator('\\A[a-z0-9][a-z0-9-]{0,29}\\Z', 'Lower-case letters, digits and - are allowed.')], verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='cluster',
            name='position',
            field=models.PositiveSmallIntegerField(default=0, verbose_name='position in the list'),
        ),
        migrations.AlterField(
            model_name='cluster',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='clusters', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='cluster',
            name='tenants',
            field=models.ManyToManyField(blank=True, help_text='Leave empty to make it visible to all tenants.', related_name='+', to='tenancy.tenant', verbose_name='tenants'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='binned_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='moved to the recycle bin'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='binned_automatically',
            field=models.BooleanField(default=False, editable=False, verbose_name='moved to the recycle bin by the platform'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='destroy_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='to be destroyed'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='destroyed_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='destroyed'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='disk_type',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='disks', to='compute.disktype', verbose_name='disk type'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='failure',
            field=models.CharField(blank=True, editable=False, max_length=500, verbose_name='error'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='failure_code',
            field=models.CharField(blank=True, editable=False, max_length=60, verbose_name='error code'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='failure_detail',
            field=models.TextField(blank=True, db_default='', verbose_name='error detail'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='format_at_boot',
            field=models.BooleanField(default=False, verbose_name='format at first boot'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='guest_device',
            field=models.CharField(blank=True, db_default='', editable=False, max_length=60, verbose_name='device in the guest'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='id',
            field=models.CharField(default=compute.models.disk.disk_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='image',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='disks', to='compute.image', verbose_name='image'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='is_system',
            field=models.BooleanField(default=False, verbose_name='system disk'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='pool',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='disks', to='compute.storagepool', verbose_name='storage pool'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='size_gib',
            field=models.PositiveIntegerField(validators=[django.core.validators.MinValueValidator(1)], verbose_name='size (GB)'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='status',
            field=models.CharField(choices=[('new', 'Creating'), ('unbound', 'Unbound'), ('bound', 'Bound'), ('expired', 'Expired'), ('failed', 'Failed'), ('binned', 'In recycle bin'), ('destroyed', 'Destroyed')], default='new', editable=False, max_length=12, verbose_name='status'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='tags',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=60), blank=True, default=list, size=None, verbose_name='tags'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='task',
            field=models.CharField(blank=True, choices=[('creating', 'Creating'), ('attaching', 'Attaching'), ('detaching', 'Detaching'), ('expanding', 'Expanding'), ('snapshotting', 'Snapshotting'), ('rolling_back', 'Rolling back'), ('cloning', 'Cloning'), ('deleting_snapshot', 'Deleting snapshot'), ('deleting', 'Deleting'), ('destroying', 'Deleting')], editable=False, max_length=20, verbose_name='task'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='task_deadline',
            field=models.DateTimeField(editable=False, null=True, verbose_name='deadline of the task'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='task_job',
            field=models.CharField(blank=True, editable=False, max_length=20, verbose_name='job'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='disk',
            name='vm',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='disks', to='compute.vm', verbose_name='VM'),
        ),
        migrations.AlterField(
            model_name='disktype',
            name='applied_iops_limit',
            field=models.PositiveIntegerField(editable=False, null=True, verbose_name='applied IOPS limit'),
        ),
        migrations.AlterField(
            model_name='disktype',
            name='applied_throughput_limit_mbps',
            field=models.PositiveIntegerField(editable=False, null=True, verbose_name='applied throughput limit (MB/s)'),
        ),
        migrations.AlterField(
            model_name='disktype',
            name='data_max_gib',
            field=models.PositiveIntegerField(default=8000, verbose_name='maximum as data disk (GB)'),
        ),
        migrations.AlterField(
            model_name='disktype',
            name='data_min_gib',
            field=models.PositiveIntegerField(default=10, validators=[django.core.validators.MinValueValidator(1)], verbose_name='minimum as data disk (GB)'),
        ),
        migrations.AlterField(
            model_name='disktype',
            name='enabled',
            field=models.BooleanField(default=True, verbose_name='enabled'),
        ),
        migrations.AlterField(
            model_name='disktype',
            name='id',
            field=models.CharField(max_length=30, primary_key=True, serialize=False, validators=[django.core.validators.RegexValidator('\\A[a-z0-9][a-z0-9-]{0,29}\\Z', 'Lower-case letters, digits and - are allowed.')], verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='disktype',
            name='medium',
            field=models.CharField(choices=[('HDD', 'HDD'), ('SSD', 'SSD'), ('NVME', 'NVME')], default='SSD', max_length=4, verbose_name='medium'),
        ),
        migrations.AlterField(
            model_name='disktype',
            name='pool',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='disk_types', to='compute.storagepool', verbose_name='storage pool'),
        ),
        migrations.AlterField(
            model_name='disktype',
            name='position',
            field=models.PositiveSmallIntegerField(default=0, verbose_name='position in the list'),
        ),
        migrations.AlterField(
            model_name='disktype',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='disk_types', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='disktype',
            name='system_max_gib',
            field=models.PositiveIntegerField(default=500, verbose_name='maximum as system disk (GB)'),
        ),
        migrations.AlterField(
            model_name='disktype',
            name='system_min_gib',
            field=models.PositiveIntegerField(default=40, validators=[django.core.validators.MinValueValidator(1)], verbose_name='minimum as system disk (GB)'),
        ),
        migrations.AlterField(
            model_name='disktype',
            name='tenants',
            field=models.ManyToManyField(blank=True, help_text='Leave empty to make it visible to all tenants.', related_name='+', to='tenancy.tenant', verbose_name='tenants'),
        ),
        migrations.AlterField(
            model_name='drift',
            name='detail',
            field=models.CharField(max_length=500, verbose_name='detail'),
        ),
        migrations.AlterField(
            model_name='drift',
            name='first_seen_at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='first seen'),
        ),
        migrations.AlterField(
            model_name='drift',
            name='kind',
            field=models.CharField(max_length=40, verbose_name='type'),
        ),
        migrations.AlterField(
            model_name='drift',
            name='last_seen_at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='last seen'),
        ),
        migrations.AlterField(
            model_name='drift',
            name='place',
            field=models.CharField(max_length=60, verbose_name='host or pool'),
        ),
        migrations.AlterField(
            model_name='drift',
            name='repaired_at',
            field=models.DateTimeField(null=True, verbose_name='repaired'),
        ),
        migrations.AlterField(
            model_name='drift',
            name='resource_id',
            field=models.CharField(max_length=60, verbose_name='resource ID'),
        ),
        migrations.AlterField(
            model_name='host',
            name='accelerated',
            field=models.BooleanField(default=False, editable=False, verbose_name='hardware acceleration'),
        ),
        migrations.AlterField(
            model_name='host',
            name='cluster',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='hosts', to='compute.cluster', verbose_name='cluster'),
        ),
        migrations.AlterField(
            model_name='host',
            name='id',
            field=models.CharField(default=compute.models.platform.host_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='host',
            name='last_error',
            field=models.CharField(blank=True, editable=False, max_length=300, verbose_name='last error'),
        ),
        migrations.AlterField(
            model_name='host',
            name='memory_mib',
            field=models.PositiveIntegerField(default=0, editable=False, verbose_name='memory (MB)'),
        ),
        migrations.AlterField(
            model_name='host',
            name='observed_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='last observed'),
        ),
        migrations.AlterField(
            model_name='host',
            name='reserved_memory_mib',
            field=models.PositiveIntegerField(default=1024, help_text='Kept for the host itself.', verbose_name='reserved memory (MB)'),
        ),
        migrations.AlterField(
            model_name='host',
            name='state',
            field=models.CharField(choices=[('available', 'Available'), ('locked', 'Locked (no new VMs)'), ('entering_maintenance', 'Entering maintenance'), ('maintenance', 'Maintenance'), ('down', 'Down')], default='available', max_length=20, verbose_name='state'),
        ),
        migrations.AlterField(
            model_name='host',
            name='unreachable_since',
            field=models.DateTimeField(editable=False, null=True, verbose_name='unreachable since'),
        ),
        migrations.AlterField(
            model_name='host',
            name='vcpus',
            field=models.PositiveIntegerField(default=0, editable=False, verbose_name='virtual CPUs'),
        ),
        migrations.AlterField(
            model_name='host',
            name='version',
            field=models.CharField(blank=True, editable=False, max_length=60, verbose_name='version'),
        ),
        migrations.AlterField(
            model_name='image',
            name='accepts_ssh_keys',
            field=models.BooleanField(db_default=True, default=True, verbose_name='supports SSH public keys'),
        ),
        migrations.AlterField(
            model_name='image',
            name='accepts_user_data',
            field=models.BooleanField(db_default=True, default=True, verbose_name='supports user data (cloud-init)'),
        ),
        migrations.AlterField(
            model_name='image',
            name='admin_account',
            field=models.CharField(default='root', max_length=32, verbose_name='administrator account'),
        ),
        migrations.AlterField(
            model_name='image',
            name='architecture',
            field=models.CharField(choices=[('x86_64', 'x86_64'), ('aarch64', 'aarch64 (ARM)')], default='x86_64', max_length=10, verbose_name='architecture'),
        ),
        migrations.AlterField(
            model_name='image',
            name='base_image',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='derived', to='compute.image', verbose_name='derived from'),
        ),
        migrations.AlterField(
            model_name='image',
            name='binned_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='moved to the recycle bin'),
        ),
        migrations.AlterField(
            model_name='image',
            name='binned_automatically',
            field=models.BooleanField(default=False, editable=False, verbose_name='moved to the recycle bin by the platform'),
        ),
        migrations.AlterField(
            model_name='image',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='image',
            name='destroy_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='to be destroyed'),
        ),
        migrations.AlterField(
            model_name='image',
            name='destroyed_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='destroyed'),
        ),
        migrations.AlterField(
            model_name='image',
            name='distribution',
            field=models.CharField(help_text='debian, ubuntu, centos, windows, ...', max_length=30, verbose_name='distribution'),
        ),
        migrations.AlterField(
            model_name='image',
            name='failure',
            field=models.CharField(blank=True, editable=False, max_length=300, verbose_name='error'),
        ),
        migrations.AlterField(
            model_name='image',
            name='failure_detail',
            field=models.TextField(blank=True, db_default='', verbose_name='error detail'),
        ),
        migrations.AlterField(
            model_name='image',
            name='id',
            field=models.CharField(default=compute.models.image.image_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='image',
            name='import_sha256',
            field=models.CharField(blank=True, editable=False, max_length=64, verbose_name='expected SHA-256'),
        ),
        migrations.AlterField(
            model_name='image',
            name='import_source',
            field=models.CharField(blank=True, editable=False, max_length=1000, verbose_name='imported from'),
        ),
        migrations.AlterField(
            model_name='image',
            name='min_disk_gib',
            field=models.PositiveIntegerField(default=1, verbose_name='minimum system disk (GB)'),
        ),
        migrations.AlterField(
            model_name='image',
            name='os_family',
            field=models.CharField(choices=[('linux', 'Linux'), ('windows', 'Windows')], default='linux', max_length=10, verbose_name='family'),
        ),
        migrations.AlterField(
            model_name='image',
            name='pool',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='images', to='compute.storagepool', verbose_name='storage pool'),
        ),
        migrations.AlterField(
            model_name='image',
            name='position',
            field=models.PositiveSmallIntegerField(default=0, verbose_name='position in the list'),
        ),
        migrations.AlterField(
            model_name='image',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='image',
            name='sha256',
            field=models.CharField(blank=True, editable=False, max_length=64, verbose_name='SHA-256'),
        ),
        migrations.AlterField(
            model_name='image',
            name='size_bytes',
            field=models.BigIntegerField(default=0, editable=False, verbose_name='size (bytes)'),
        ),
        migrations.AlterField(
            model_name='image',
            name='status',
            field=models.CharField(choices=[('making', 'Making'), ('importing', 'Importing'), ('available', 'Available'), ('failed', 'Failed'), ('deleting', 'Deleting'), ('binned', 'In recycle bin'), ('destroyed', 'Destroyed')], default='available', max_length=12, verbose_name='status'),
        ),
        migrations.AlterField(
            model_name='image',
            name='tenant',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='image',
            name='version',
            field=models.CharField(blank=True, max_length=30, verbose_name='version'),
        ),
        migrations.AlterField(
            model_name='snapshot',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='snapshot',
            name='destroyed_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='destroyed'),
        ),
        migrations.AlterField(
            model_name='snapshot',
            name='disk',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='snapshots', to='compute.disk', verbose_name='disk'),
        ),
        migrations.AlterField(
            model_name='snapshot',
            name='failure',
            field=models.CharField(blank=True, editable=False, max_length=500, verbose_name='error'),
        ),
        migrations.AlterField(
            model_name='snapshot',
            name='failure_detail',
            field=models.TextField(blank=True, db_default='', verbose_name='error detail'),
        ),
        migrations.AlterField(
            model_name='snapshot',
            name='id',
            field=models.CharField(default=compute.models.snapshot.snapshot_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='snapshot',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='snapshot',
            name='schedule',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='snapshots', to='compute.snapshotschedule', verbose_name='schedule'),
        ),
        migrations.AlterField(
            model_name='snapshot',
            name='size_gib',
            field=models.PositiveIntegerField(verbose_name='size (GB)'),
        ),
        migrations.AlterField(
            model_name='snapshot',
            name='status',
            field=models.CharField(choices=[('creating', 'Creating'), ('available', 'Available'), ('rolling_back', 'Rolling back'), ('deleting', 'Deleting'), ('failed', 'Failed'), ('destroyed', 'Destroyed')], default='creating', editable=False, max_length=12, verbose_name='status'),
        ),
        migrations.AlterField(
            model_name='snapshot',
            name='tags',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=60), blank=True, default=list, size=None, verbose_name='tags'),
        ),
        migrations.AlterField(
            model_name='snapshot',
            name='taken_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='taken'),
        ),
        migrations.AlterField(
            model_name='snapshot',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='snapshotschedule',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='snapshotschedule',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='snapshotschedule',
            name='tags',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=60), blank=True, default=list, size=None, verbose_name='tags'),
        ),
        migrations.AlterField(
            model_name='snapshotschedule',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='spec',
            name='cluster',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='specs', to='compute.cluster', verbose_name='cluster'),
        ),
        migrations.AlterField(
            model_name='spec',
            name='enabled',
            field=models.BooleanField(default=True, verbose_name='enabled'),
        ),
        migrations.AlterField(
            model_name='spec',
            name='vcpus',
            field=models.PositiveSmallIntegerField(validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(255)], verbose_name='virtual CPUs'),
        ),
        migrations.AlterField(
            model_name='storagepool',
            name='available_bytes',
            field=models.BigIntegerField(default=0, editable=False, verbose_name='available (bytes)'),
        ),
        migrations.AlterField(
            model_name='storagepool',
            name='id',
            field=models.CharField(max_length=30, primary_key=True, serialize=False, validators=[django.core.validators.RegexValidator('\\A[a-z0-9][a-z0-9-]{0,29}\\Z', 'Lower-case letters, digits and - are allowed.')], verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='storagepool',
            name='kind',
            field=models.CharField(choices=[('dir', 'shared directory'), ('fake', 'simulated')], max_length=10, verbose_name='type'),
        ),
        migrations.AlterField(
            model_name='storagepool',
            name='last_error',
            field=models.CharField(blank=True, editable=False, max_length=300, verbose_name='last error'),
        ),
        migrations.AlterField(
            model_name='storagepool',
            name='location',
            field=models.CharField(max_length=200, verbose_name='location'),
        ),
        migrations.AlterField(
            model_name='storagepool',
            name='observed_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='last observed'),
        ),
        migrations.AlterField(
            model_name='storagepool',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='pools', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='storagepool',
            name='total_bytes',
            field=models.BigIntegerField(default=0, editable=False, verbose_name='size (bytes)'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='admin_account',
            field=models.CharField(default='root', max_length=32, verbose_name='administrator account'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='binned_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='moved to the recycle bin'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='binned_automatically',
            field=models.BooleanField(default=False, editable=False, verbose_name='moved to the recycle bin by the platform'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='cluster',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='vms', to='compute.cluster', verbose_name='cluster'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='destination',
            field=models.ForeignKey(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='arriving', to='compute.host', verbose_name='destination of the migration'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='destroy_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='to be destroyed'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='destroyed_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='destroyed'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='external_security_group',
            field=models.CharField(blank=True, max_length=20, verbose_name='external security group'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='failure',
            field=models.CharField(blank=True, editable=False, max_length=500, verbose_name='error'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='failure_code',
            field=models.CharField(blank=True, editable=False, max_length=60, verbose_name='error code'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='failure_detail',
            field=models.TextField(blank=True, db_default='', verbose_name='error detail'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='gpu_count',
            field=models.PositiveSmallIntegerField(default=0, validators=[django.core.validators.MaxValueValidator(4)], verbose_name='GPUs'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='host',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='vms', to='compute.host', verbose_name='host'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='hostname',
            field=models.CharField(blank=True, db_default='', editable=False, max_length=63, verbose_name='host name'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='id',
            field=models.CharField(default=compute.models.vm.vm_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='image',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='vms', to='compute.image', verbose_name='image'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='internal_security_group',
            field=models.CharField(blank=True, max_length=20, verbose_name='internal security group'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='max_memory_mib',
            field=models.PositiveIntegerField(default=0, verbose_name='maximum memory without restart (MB)'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='max_vcpus',
            field=models.PositiveSmallIntegerField(default=0, verbose_name='maximum CPUs without restart'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='memory_mib',
            field=models.PositiveIntegerField(validators=[django.core.validators.MinValueValidator(64)], verbose_name='memory (MB)'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='observed_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='last observed'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='pause_reason',
            field=models.CharField(blank=True, choices=[('by_hand', 'An administrator paused it.'), ('no_space', 'Its storage is full. It resumes automatically when space is available again.'), ('io_error', 'One of its disks reported an error.'), ('guest_suspended', 'Its operating system is suspended.'), ('guest_crashed', 'Its operating system crashed.'), ('migration_failed', 'A migration to another host was interrupted.'), ('watchdog', 'Its watchdog reported that its operating system does not respond.'), ('other', 'The hypervisor paused it.')], db_default='', default='', editable=False, max_length=20, verbose_name='reason of the pause'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='paused_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='paused'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='power_state',
            field=models.CharField(choices=[('unknown', 'unknown'), ('running', 'running'), ('stopped', 'stopped'), ('paused', 'paused'), ('crashed', 'crashed'), ('absent', 'absent')], default='unknown', editable=False, max_length=10, verbose_name='power state'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='rebooted_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='last restart'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='revision',
            field=models.PositiveBigIntegerField(db_default=0, default=0, editable=False, verbose_name='revision'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='seed_generation',
            field=models.PositiveIntegerField(default=1, verbose_name='seed generation'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='ssh_public_key',
            field=models.TextField(blank=True, verbose_name='SSH public key'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='status',
            field=models.CharField(choices=[('new', 'New'), ('running', 'Running'), ('stopped', 'Stopped'), ('expired', 'Expired'), ('failed', 'Failed'), ('binned', 'In recycle bin'), ('destroyed', 'Destroyed')], default='new', editable=False, max_length=12, verbose_name='status'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='tags',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=60), blank=True, default=list, size=None, verbose_name='tags'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='task',
            field=models.CharField(blank=True, choices=[('creating', 'Starting'), ('starting', 'Starting'), ('stopping', 'Stopping'), ('powering_off', 'Powering off'), ('restarting', 'Restarting'), ('resuming', 'Resuming'), ('modifying', 'Modifying configuration'), ('upgrading', 'Modifying configuration'), ('imaging', 'Making image'), ('reinstalling', 'Reinstalling'), ('resetting', 'Resetting password'), ('migrating', 'Migrating'), ('failing_over', 'Failover migrating'), ('expiring', 'Stopping'), ('deleting', 'Deleting'), ('restoring', 'Restoring'), ('destroying', 'Deleting')], editable=False, max_length=20, verbose_name='task'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='task_deadline',
            field=models.DateTimeField(editable=False, null=True, verbose_name='deadline of the task'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='task_job',
            field=models.CharField(blank=True, editable=False, max_length=20, verbose_name='job'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='user_data',
            field=models.TextField(blank=True, verbose_name='user data'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='uuid',
            field=models.UUIDField(default=uuid.uuid4, editable=False, unique=True, verbose_name='UUID'),
        ),
        migrations.AlterField(
            model_name='vm',
            name='vcpus',
            field=models.PositiveSmallIntegerField(validators=[django.core.validators.MinValueValidator(1)], verbose_name='virtual CPUs'),
        ),
    ]
