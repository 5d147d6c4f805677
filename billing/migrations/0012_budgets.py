"""Budgets of tenants and of tags."""

import billing.models.budgets
import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0011_low_balance'),
        ('tenancy', '0007_refund_pro_rata'),
    ]

    operations = [
        migrations.CreateModel(
            name='Budget',
            fields=[
                ('id', models.CharField(default=billing.models.budgets.budget_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=30, verbose_name='name')),
                ('tag', models.CharField(blank=True, max_length=60, verbose_name='tag')),
                ('amount_minor', models.BigIntegerField(verbose_name='amount (minor units)')),
                ('time_zone', models.CharField(max_length=40, verbose_name='time zone')),
                ('warn_percents', django.contrib.postgres.fields.ArrayField(base_field=models.PositiveSmallIntegerField(), default=list, size=None, verbose_name='warn at percent')),
                ('block_percent', models.PositiveSmallIntegerField(blank=True, null=True, verbose_name='stop purchases at percent')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='budgets', to='tenancy.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'budget',
                'verbose_name_plural': 'budgets',
                'ordering': ['name', 'id'],
            },
        ),
        migrations.CreateModel(
            name='BudgetMark',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('month', models.DateField(verbose_name='month')),
                ('percent', models.PositiveSmallIntegerField(verbose_name='percent')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='told')),
                ('budget', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='marks', to='billing.budget', verbose_name='budget')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'mark of a budget',
                'verbose_name_plural': 'marks of budgets',
                'ordering': ['id'],
            },
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.CheckConstraint(condition=models.Q(('amount_minor__gt', 0)), name='budget_positive'),
        ),
        migrations.AddConstraint(
            model_name='budgetmark',
            constraint=models.UniqueConstraint(fields=('budget', 'month', 'percent'), name='budget_told_once'),
        ),
    ]
