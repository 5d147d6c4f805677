"""Names of models, fields and choices; no column changes."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('resources', '0001_initial'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='region',
            options={'ordering': ['position', 'name'], 'verbose_name': 'region', 'verbose_name_plural': 'regions'},
        ),
        migrations.AlterField(
            model_name='region',
            name='id',
            field=models.CharField(max_length=30, primary_key=True, serialize=False, validators=[django.core.validators.RegexValidator('\\A[a-z0-9][a-z0-9-]{0,29}\\Z', 'Lower-case letters, digits and - are allowed.')], verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='region',
            name='position',
            field=models.PositiveSmallIntegerField(default=0, verbose_name='position in the list'),
        ),
    ]
