"""What operators read of an operation, beside what its tenant reads."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("audit", "0002_seals"),
    ]

    operations = [
        migrations.AddField(
            model_name="operation",
            name="detail",
            field=models.TextField(blank=True, db_default=""),
        ),
    ]
