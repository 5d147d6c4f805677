"""Words of fields and choices; no column changes."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("billing", "0004_never_emptied"),
    ]

    operations = [
        migrations.AlterField(
            model_name="discount",
            name="sku_prefix",
            field=models.CharField(blank=True, help_text="Leave empty for everything.", max_length=100, verbose_name="SKU prefix"),
        ),
        migrations.AlterField(
            model_name="ledgertransaction",
            name="kind",
            field=models.CharField(choices=[("recharge", "Top up"), ("gift", "Gift"), ("deduction", "Deduction"), ("refund", "Refund")], max_length=10),
        ),
        migrations.AlterField(
            model_name="quotaclaim",
            name="item",
            field=models.CharField(choices=[("vms", "VMs"), ("vcpu", "vCPU"), ("memory_gib", "Memory (GB)"), ("gpus", "GPUs"), ("disks", "Disks"), ("disk_gib", "Disk space (GB)"), ("snapshots", "Snapshots"), ("images", "Images"), ("image_gib", "Image storage (GB)"), ("bin_gib", "Recycle bin (GB)"), ("eips", "External IPs"), ("bandwidth_mbps", "Bandwidth (Mb/s)"), ("vpcs", "VPCs"), ("subnets", "Subnets"), ("enis", "ENIs"), ("security_groups", "Security groups")], max_length=20),
        ),
        migrations.AlterField(
            model_name="quotalimit",
            name="item",
            field=models.CharField(choices=[("vms", "VMs"), ("vcpu", "vCPU"), ("memory_gib", "Memory (GB)"), ("gpus", "GPUs"), ("disks", "Disks"), ("disk_gib", "Disk space (GB)"), ("snapshots", "Snapshots"), ("images", "Images"), ("image_gib", "Image storage (GB)"), ("bin_gib", "Recycle bin (GB)"), ("eips", "External IPs"), ("bandwidth_mbps", "Bandwidth (Mb/s)"), ("vpcs", "VPCs"), ("subnets", "Subnets"), ("enis", "ENIs"), ("security_groups", "Security groups")], max_length=20),
        ),
        migrations.AlterField(
            model_name="quotarequest",
            name="item",
            field=models.CharField(choices=[("vms", "VMs"), ("vcpu", "vCPU"), ("memory_gib", "Memory (GB)"), ("gpus", "GPUs"), ("disks", "Disks"), ("disk_gib", "Disk space (GB)"), ("snapshots", "Snapshots"), ("images", "Images"), ("image_gib", "Image storage (GB)"), ("bin_gib", "Recycle bin (GB)"), ("eips", "External IPs"), ("bandwidth_mbps", "Bandwidth (Mb/s)"), ("vpcs", "VPCs"), ("subnets", "Subnets"), ("enis", "ENIs"), ("security_groups", "Security groups")], max_length=20),
        ),
    ]
