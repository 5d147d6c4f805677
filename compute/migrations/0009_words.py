"""Words of fields and choices; no column changes."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("compute", "0008_guest_device_and_reboot"),
    ]

    operations = [
        migrations.AlterField(
            model_name="spec",
            name="memory_mib",
            field=models.PositiveIntegerField(validators=[django.core.validators.MinValueValidator(64), django.core.validators.MaxValueValidator(4194304)], verbose_name="memory (MB)"),
        ),
    ]
