"""What operators read of a failed change in the network, beside what tenants read."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("network", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="nic",
            name="sync_error_detail",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.AddField(
            model_name="securitygroup",
            name="sync_error_detail",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.AddField(
            model_name="subnet",
            name="sync_error_detail",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.AddField(
            model_name="vpc",
            name="sync_error_detail",
            field=models.TextField(blank=True, db_default=""),
        ),
    ]
