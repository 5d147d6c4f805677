"""Billing addresses of tenants; the blank texts of the settings have their default in Python too."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0017_payments'),
        ('tenancy', '0007_refund_pro_rata'),
    ]

    operations = [
        migrations.CreateModel(
            name='BillingAddress',
            fields=[
                ('tenant', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='billing_address', serialize=False, to='tenancy.tenant', verbose_name='tenant')),
                ('name', models.CharField(max_length=100, verbose_name='name')),
                ('lines', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), default=list, size=None, verbose_name='address')),
                ('country', models.CharField(blank=True, max_length=60, verbose_name='country')),
                ('tax_number', models.CharField(blank=True, max_length=40, verbose_name='tax number')),
                ('updated_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='changed')),
            ],
            options={
                'verbose_name': 'billing address',
                'verbose_name_plural': 'billing addresses',
                'ordering': ['tenant'],
            },
        ),
        migrations.AlterField(
            model_name='billingsettings',
            name='seller',
            field=models.TextField(blank=True, db_default='', default='', help_text='As many lines as it has.', max_length=500, verbose_name='name and address on statements'),
        ),
        migrations.AlterField(
            model_name='billingsettings',
            name='seller_tax_id',
            field=models.CharField(blank=True, db_default='', default='', max_length=40, verbose_name='tax number on statements'),
        ),
        migrations.AlterField(
            model_name='billingsettings',
            name='tax_name',
            field=models.CharField(blank=True, db_default='', default='', help_text='Such as VAT.', max_length=30, verbose_name='name of the tax'),
        ),
    ]
