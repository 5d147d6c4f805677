"""From which balance on tenants are warned."""

import django.core.validators
from decimal import Decimal
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0010_top_ups"),
    ]

    operations = [
        migrations.AddField(
            model_name="account",
            name="low_balance_minor",
            field=models.BigIntegerField(
                blank=True, editable=False, null=True, verbose_name="warn below (minor units)"
            ),
        ),
        migrations.AddField(
            model_name="account",
            name="low_since",
            field=models.DateTimeField(
                blank=True, editable=False, null=True, verbose_name="low since"
            ),
        ),
        migrations.AddField(
            model_name="billingsettings",
            name="low_balance_below",
            field=models.DecimalField(
                blank=True,
                decimal_places=6,
                default=Decimal("100"),
                help_text="Each tenant can choose another amount. 0 or empty means never.",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="warn tenants whose balance is below",
            ),
        ),
        migrations.AddConstraint(
            model_name="account",
            constraint=models.CheckConstraint(
                condition=models.Q(("low_balance_minor__gte", 0)), name="low_balance_not_negative"
            ),
        ),
    ]
