"""What hourly resources held in an hour beyond what it was paid at. Rows of before have nothing."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0006_names'),
        ('tenancy', '0006_names'),
    ]

    operations = [
        migrations.AddField(
            model_name='subscription',
            name='changed_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='changed'),
        ),
        migrations.CreateModel(
            name='HeldHour',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('label', models.CharField(blank=True, max_length=120, verbose_name='label')),
                ('sku', models.CharField(max_length=100, verbose_name='SKU')),
                ('above', models.DecimalField(decimal_places=6, max_digits=18, verbose_name='above')),
                ('upto', models.DecimalField(decimal_places=6, max_digits=18, verbose_name='up to')),
                ('begin', models.DateTimeField(verbose_name='from')),
                ('end', models.DateTimeField(verbose_name='until')),
                ('priced_at', models.DateTimeField(verbose_name='priced')),
                ('changed_at', models.DateTimeField(verbose_name='changed')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='created')),
                ('charge', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='held_hours', to='billing.charge', verbose_name='charge')),
                ('subscription', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='held_hours', to='billing.subscription', verbose_name='subscription')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'hour held at a larger size',
                'verbose_name_plural': 'hours held at a larger size',
                'ordering': ['id'],
                'indexes': [models.Index(condition=models.Q(('charge__isnull', True)), fields=['subscription'], name='held_hour_open')],
                'constraints': [models.CheckConstraint(condition=models.Q(('upto__gt', models.F('above'))), name='held_hour_has_units'), models.CheckConstraint(condition=models.Q(('end__gt', models.F('begin'))), name='held_hour_period')],
            },
        ),
    ]
