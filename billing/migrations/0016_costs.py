"""Costs of days and months, kept by a trigger on the charges, which code of before feeds as well.

The trigger counts in the billing time zone of the moment of this migration. Charging waits until
what was charged before is added up: some seconds for a million charges.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

ADD = """
CREATE FUNCTION billing_add_costs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO billing_daycost AS known (tenant_id, day, amount_minor)
    SELECT tenant_id, (created_at AT TIME ZONE TG_ARGV[0])::date, SUM(amount_minor)
      FROM added GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (tenant_id, day)
        DO UPDATE SET amount_minor = known.amount_minor + EXCLUDED.amount_minor;
    INSERT INTO billing_monthcost AS known
           (tenant_id, month, resource_id, resource_kind, amount_minor)
    SELECT tenant_id, date_trunc('month', created_at AT TIME ZONE TG_ARGV[0])::date,
           resource_id, resource_kind, SUM(amount_minor)
      FROM added GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (tenant_id, month, resource_id, resource_kind)
        DO UPDATE SET amount_minor = known.amount_minor + EXCLUDED.amount_minor;
    RETURN NULL;
END $$;
"""

# Creating the trigger keeps others from charging until this transaction ends.
TRIGGER = """
CREATE TRIGGER billing_charge_costs AFTER INSERT ON billing_charge
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION billing_add_costs({zone});
"""

FILL = """
INSERT INTO billing_daycost (tenant_id, day, amount_minor)
SELECT tenant_id, (created_at AT TIME ZONE {zone})::date, SUM(amount_minor)
  FROM billing_charge GROUP BY 1, 2;
INSERT INTO billing_monthcost (tenant_id, month, resource_id, resource_kind, amount_minor)
SELECT tenant_id, date_trunc('month', created_at AT TIME ZONE {zone})::date,
       resource_id, resource_kind, SUM(amount_minor)
  FROM billing_charge GROUP BY 1, 2, 3, 4;
"""

UNDO = """
DROP TRIGGER billing_charge_costs ON billing_charge;
DROP FUNCTION billing_add_costs();
"""


def add(apps, schema_editor):
    zone = schema_editor.quote_value(settings.SCLOUD_BILLING_TIME_ZONE)
    schema_editor.execute(ADD, params=None)
    schema_editor.execute(TRIGGER.format(zone=zone), params=None)
    schema_editor.execute(FILL.format(zone=zone), params=None)


def undo(apps, schema_editor):
    schema_editor.execute(UNDO, params=None)


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0015_statements'),
        ('tenancy', '0007_refund_pro_rata'),
    ]

    operations = [
        migrations.CreateModel(
            name='DayCost',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField(verbose_name='day')),
                ('amount_minor', models.BigIntegerField(verbose_name='amount (minor units)')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'cost of a day',
                'verbose_name_plural': 'costs of days',
                'ordering': ['id'],
                'constraints': [models.UniqueConstraint(fields=('tenant', 'day'), name='day_cost_once')],
            },
        ),
        migrations.CreateModel(
            name='MonthCost',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('month', models.DateField(verbose_name='month')),
                ('resource_kind', models.CharField(max_length=30, verbose_name='resource type')),
                ('resource_id', models.CharField(max_length=40, verbose_name='resource ID')),
                ('amount_minor', models.BigIntegerField(verbose_name='amount (minor units)')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'cost of a resource in a month',
                'verbose_name_plural': 'costs of resources in months',
                'ordering': ['id'],
                'constraints': [models.UniqueConstraint(fields=('tenant', 'month', 'resource_id', 'resource_kind'), name='month_cost_once')],
            },
        ),
        migrations.RunPython(add, undo),
    ]
