"""What operators read of a failure, beside what tenants read."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("compute", "0005_vm_hostname"),
    ]

    operations = [
        migrations.AddField(
            model_name="disk",
            name="failure_detail",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.AddField(
            model_name="image",
            name="failure_detail",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.AddField(
            model_name="snapshot",
            name="failure_detail",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.AddField(
            model_name="vm",
            name="failure_detail",
            field=models.TextField(blank=True, db_default=""),
        ),
    ]
