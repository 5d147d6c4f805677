"""A VM keeps its guest's host name, so that renaming the VM does not change it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("compute", "0004_vm_revision")]

    operations = [
        migrations.AddField(
            "vm",
            "hostname",
            models.CharField(blank=True, db_default="", editable=False, max_length=63),
        ),
    ]
