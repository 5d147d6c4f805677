"""The front page reads failed jobs only. Made while workers go on: the table is large."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("jobs", "0007_acknowledged"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="job",
            index=models.Index(
                condition=models.Q(("acknowledged_at__isnull", True), ("status", "failed")),
                fields=["finished_at"],
                name="job_failed_open",
            ),
        ),
    ]
