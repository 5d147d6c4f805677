"""Failed jobs can be acknowledged. Processes of the last release insert rows without it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0006_finished"),
    ]

    operations = [
        migrations.AddField(
            model_name="job",
            name="acknowledged_at",
            field=models.DateTimeField(null=True, verbose_name="acknowledged"),
        ),
        migrations.AddField(
            model_name="job",
            name="acknowledged_by",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                max_length=320,
                verbose_name="acknowledged by",
            ),
        ),
    ]
