"""Fewer indexes on the books: those that another one covers, and those that nothing asks.

Django makes two for each key that is a text, one of them for LIKE, which no query uses. A renewal
wrote into 56 indexes and now into 25. Code of before runs on beside this.
"""

import django.db.models.deletion
from django.db import migrations, models

# (table, column) of indexes of one column.
COVERED = (
    ("billing_order", "tenant_id"),
    ("billing_order", "region_id"),
    ("billing_charge", "tenant_id"),
    ("billing_orderline", "tenant_id"),
    ("billing_ledgertransaction", "account_id"),
    ("billing_ledgertransaction", "tenant_id"),
    ("billing_ledgerentry", "transaction_id"),
    ("billing_ledgerentry", "tenant_id"),
    ("billing_subscription", "tenant_id"),
    ("billing_subscription", "region_id"),
)

# By what they are: their names hold numbers that only Django can compute.
DROP = f"""
DO $$
DECLARE
    one regclass;
BEGIN
    FOR one IN
        SELECT index.indexrelid
          FROM pg_index AS index
          JOIN pg_class AS table_ ON table_.oid = index.indrelid
          JOIN pg_attribute AS column_
            ON column_.attrelid = index.indrelid AND column_.attnum = index.indkey[0]
          JOIN pg_opclass AS class ON class.oid = index.indclass[0]
         WHERE index.indrelid = ANY ('{{{",".join(sorted({table for table, _column in COVERED}))}}}'::regclass[])
           AND index.indnatts = 1 AND index.indpred IS NULL AND NOT index.indisunique
           AND (class.opcname = 'varchar_pattern_ops'
                OR (table_.relname, column_.attname) IN ({", ".join(map(str, COVERED))}))
    LOOP
        EXECUTE format('DROP INDEX %s', one);
    END LOOP;
END $$;
"""


def tenant(name="+"):
    return models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name=name, to='tenancy.tenant', verbose_name='tenant')


def region():
    return models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='resources.region', verbose_name='region')


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0021_retention'),
    ]

    operations = [
        # Not by Django: it would make the foreign keys anew, and look at all rows for it.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField('order', 'tenant', tenant('orders')),
                migrations.AlterField('order', 'region', region()),
                migrations.AlterField('charge', 'tenant', tenant()),
                migrations.AlterField('orderline', 'tenant', tenant()),
                migrations.AlterField('ledgertransaction', 'account', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='transactions', to='billing.account', verbose_name='account')),
                migrations.AlterField('ledgertransaction', 'tenant', tenant()),
                migrations.AlterField('ledgerentry', 'transaction', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='entries', to='billing.ledgertransaction', verbose_name='transaction')),
                migrations.AlterField('ledgerentry', 'tenant', tenant()),
                migrations.AlterField('subscription', 'tenant', tenant('subscriptions')),
                migrations.AlterField('subscription', 'region', region()),
            ],
            database_operations=[migrations.RunSQL(DROP, migrations.RunSQL.noop)],
        ),
    ]
