"""Words of fields and choices; no column changes."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("network", "0002_sync_error_detail"),
    ]

    operations = [
        migrations.AlterField(
            model_name="networkdrift",
            name="problem",
            field=models.CharField(choices=[("differs", "Missing or different in the fabric"), ("left_over", "Still in the fabric after its deletion"), ("unknown", "Marked as ours, but unknown"), ("foreign", "Created by another system")], max_length=10),
        ),
    ]
