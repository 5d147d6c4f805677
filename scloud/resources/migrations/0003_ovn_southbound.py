"""Where a region's southbound database is, for packet traces."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("resources", "0002_names")]

    operations = [
        migrations.AddField(
            model_name="region",
            name="ovn_sb",
            field=models.CharField(
                blank=True,
                db_default="",
                help_text="tcp:ADDRESS:6642 or unix:PATH; read for packet traces only",
                max_length=200,
                verbose_name="OVN southbound database",
            ),
        ),
    ]
