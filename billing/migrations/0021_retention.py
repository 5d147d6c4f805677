"""Months whose details are deleted when the settings say so, and the one way to do it.

Code of before deletes nothing and reads the same columns, so it runs on beside this. What it would
compare wrongly, balances of accounts with such a month, there is none of until the new settings
are saved.
"""

import django.core.validators
import django.db.models.deletion
import django.db.models.expressions
import django.utils.timezone
from django.db import migrations, models

# What belongs to an order. The rest of the ledger (top-ups, gifts, payments) stays.
DETAILS = (
    "billing_orderline",
    "billing_charge",
    "billing_giftmove",
    "billing_ledgerentry",
    "billing_ledgertransaction",
    "billing_order",
)

RULES = """
-- Why the details of a closed month must stay; NULL where they may go.
CREATE FUNCTION billing_kept_because(statement text) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    paper billing_statement%ROWTYPE;
    years integer;
BEGIN
    SELECT * INTO paper FROM billing_statement WHERE id = statement;
    IF NOT FOUND THEN
        RETURN 'unknown';
    END IF;
    SELECT keep_details_years INTO years FROM billing_billingsettings WHERE id = 1;
    IF years IS NULL THEN
        RETURN 'for_ever';
    END IF;
    IF paper."end" > now() - make_interval(years => years) THEN
        RETURN 'young';
    END IF;
    IF EXISTS (SELECT 1 FROM billing_prunedmonth WHERE statement_id = paper.id) THEN
        RETURN 'gone';
    END IF;
    IF EXISTS (
        SELECT 1 FROM billing_statement AS former
         WHERE former.tenant_id = paper.tenant_id AND former.sequence < paper.sequence
           AND NOT EXISTS (SELECT 1 FROM billing_prunedmonth WHERE statement_id = former.id)
    ) THEN
        RETURN 'earlier';
    END IF;
    IF NOT EXISTS (
        SELECT 1 FROM billing_replayrun AS run
         WHERE run.finished_at IS NOT NULL
           AND run."begin" <= paper."begin" AND run."end" >= paper."end"
    ) THEN
        RETURN 'not_replayed';
    END IF;
    -- Of very many differences not all are kept: then nobody knows whose they were.
    IF NOT EXISTS (
        SELECT 1 FROM billing_replayrun AS run
         WHERE run.finished_at IS NOT NULL
           AND run."begin" <= paper."begin" AND run."end" >= paper."end"
           AND run.differences <= (SELECT count(*) FROM billing_replaydifference
                                    WHERE run_id = run.id)
           AND NOT EXISTS (SELECT 1 FROM billing_replaydifference
                            WHERE run_id = run.id AND tenant_id = paper.tenant_id)
    ) THEN
        RETURN 'differs';
    END IF;
    RETURN NULL;
END $$;

-- Refuses a month that must stay; else says which orders go, and what they add up to.
CREATE FUNCTION billing_begin_pruning() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    paper billing_statement%ROWTYPE;
    reason text;
BEGIN
    SELECT * INTO paper FROM billing_statement WHERE id = NEW.statement_id FOR UPDATE;
    reason := billing_kept_because(NEW.statement_id);
    IF reason IS NOT NULL THEN
        RAISE EXCEPTION 'the details of % stay: %', NEW.statement_id, reason
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    CREATE TEMP TABLE billing_pruned ON COMMIT DROP AS
        SELECT id FROM billing_order
         WHERE tenant_id = paper.tenant_id AND created_at < paper."end";
    CREATE UNIQUE INDEX ON billing_pruned (id);
    ANALYZE billing_pruned;
    -- An order stays while its money moved in a later month, or something living needs it: time
    -- that is still paid, the last period of a subscription, a gift that has money left.
    DELETE FROM billing_pruned USING billing_ledgertransaction AS moved
     WHERE moved.order_id = billing_pruned.id AND moved.created_at >= paper."end";
    DELETE FROM billing_pruned USING billing_charge AS charge
     WHERE charge.order_id = billing_pruned.id
       AND (charge.created_at >= paper."end" OR charge."end" > now());
    DELETE FROM billing_pruned
     USING billing_subscription AS subscription, billing_charge AS charge
     WHERE subscription.tenant_id = paper.tenant_id AND subscription.status <> 'ended'
       AND charge.resource_id = subscription.resource_id
       AND charge."end" >= subscription.paid_until
       AND charge.order_id = billing_pruned.id;
    DELETE FROM billing_pruned USING billing_giftlot AS lot, billing_giftmove AS move
     WHERE lot.tenant_id = paper.tenant_id AND lot.left_minor > 0
       AND move.lot_id = lot.id AND move.order_id = billing_pruned.id;
    -- A refund and what it gave back go together.
    LOOP
        DELETE FROM billing_pruned USING (
            SELECT refund.order_id AS one, paid.order_id AS other
              FROM billing_charge AS refund
              JOIN billing_charge AS paid ON paid.id = refund.refunds_id
             WHERE refund.refunds_id IS NOT NULL AND refund.tenant_id = paper.tenant_id
        ) AS pair
         WHERE (billing_pruned.id = pair.one
                AND NOT EXISTS (SELECT 1 FROM billing_pruned AS there WHERE there.id = pair.other))
            OR (billing_pruned.id = pair.other
                AND NOT EXISTS (SELECT 1 FROM billing_pruned AS there WHERE there.id = pair.one));
        EXIT WHEN NOT FOUND;
    END LOOP;
    NEW.tenant_id := paper.tenant_id;
    NEW.month := paper.month;
    NEW.pruned_at := transaction_timestamp();
    SELECT count(*) INTO NEW.orders FROM billing_pruned;
    SELECT count(*) INTO NEW.charges
      FROM billing_charge JOIN billing_pruned ON billing_pruned.id = billing_charge.order_id;
    SELECT COALESCE(SUM(entry.amount_minor) FILTER (WHERE entry.pocket = 'cash'), 0),
           COALESCE(SUM(entry.amount_minor) FILTER (WHERE entry.pocket = 'gift'), 0),
           COALESCE(SUM(entry.amount_minor) FILTER (WHERE entry.pocket = 'revenue'), 0)
      INTO NEW.cash_minor, NEW.gift_minor, NEW.revenue_minor
      FROM billing_ledgerentry AS entry
      JOIN billing_ledgertransaction AS moved ON moved.id = entry.transaction_id
      JOIN billing_pruned ON billing_pruned.id = moved.order_id;
    RETURN NEW;
END $$;

CREATE FUNCTION billing_prune_details() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    deleted bigint;
BEGIN
    DELETE FROM billing_orderline AS line USING billing_pruned
     WHERE line.order_id = billing_pruned.id;
    DELETE FROM billing_heldhour AS held USING billing_charge AS charge, billing_pruned
     WHERE charge.order_id = billing_pruned.id AND held.charge_id = charge.id;
    DELETE FROM billing_charge AS charge USING billing_pruned
     WHERE charge.order_id = billing_pruned.id;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    IF deleted <> NEW.charges THEN
        RAISE EXCEPTION '% charges were to go, not %', NEW.charges, deleted
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    DELETE FROM billing_giftmove AS move
     USING billing_ledgertransaction AS moved, billing_pruned
     WHERE moved.order_id = billing_pruned.id AND move.transaction_id = moved.id;
    DELETE FROM billing_ledgerentry AS entry
     USING billing_ledgertransaction AS moved, billing_pruned
     WHERE moved.order_id = billing_pruned.id AND entry.transaction_id = moved.id;
    DELETE FROM billing_ledgertransaction AS moved USING billing_pruned
     WHERE moved.order_id = billing_pruned.id;
    DELETE FROM billing_order USING billing_pruned WHERE billing_order.id = billing_pruned.id;
    DROP TABLE billing_pruned;
    RETURN NULL;
END $$;

CREATE TRIGGER billing_prunedmonth_begins BEFORE INSERT ON billing_prunedmonth
    FOR EACH ROW EXECUTE FUNCTION billing_begin_pruning();
CREATE TRIGGER billing_prunedmonth_prunes AFTER INSERT ON billing_prunedmonth
    FOR EACH ROW EXECUTE FUNCTION billing_prune_details();
CREATE TRIGGER billing_prunedmonth_append_only BEFORE UPDATE OR DELETE ON billing_prunedmonth
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER billing_prunedmonth_not_truncated BEFORE TRUNCATE ON billing_prunedmonth
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();

-- Rows go by the trigger above alone: within another trigger (the guard of rows), and in the
-- transaction that writes down the month: asked once for each statement, however many rows it takes.
CREATE FUNCTION billing_refuse_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM gone
         WHERE NOT EXISTS (SELECT 1 FROM billing_prunedmonth
                            WHERE tenant_id = gone.tenant_id
                              AND pruned_at = transaction_timestamp())
    ) THEN
        RAISE EXCEPTION 'rows of % are never changed or deleted', TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
"""
GUARDS = "".join(
    f"""
DROP TRIGGER {table}_append_only ON {table};
CREATE TRIGGER {table}_append_only BEFORE UPDATE ON {table}
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER {table}_not_deleted BEFORE DELETE ON {table}
    FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER {table}_kept AFTER DELETE ON {table} REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_delete();
"""
    for table in DETAILS
)
NO_GUARDS = "".join(
    f"""
DROP TRIGGER {table}_kept ON {table};
DROP TRIGGER {table}_not_deleted ON {table};
DROP TRIGGER {table}_append_only ON {table};
CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
"""
    for table in DETAILS
)
NO_RULES = """
DROP FUNCTION billing_refuse_delete();
DROP TRIGGER billing_prunedmonth_not_truncated ON billing_prunedmonth;
DROP TRIGGER billing_prunedmonth_append_only ON billing_prunedmonth;
DROP TRIGGER billing_prunedmonth_prunes ON billing_prunedmonth;
DROP TRIGGER billing_prunedmonth_begins ON billing_prunedmonth;
DROP FUNCTION billing_prune_details();
DROP FUNCTION billing_begin_pruning();
DROP FUNCTION billing_kept_because(text);
"""


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0020_usage'),
        ('tenancy', '0007_refund_pro_rata'),
    ]

    operations = [
        migrations.AddField(
            model_name='billingsettings',
            name='keep_details_years',
            field=models.PositiveSmallIntegerField(blank=True, help_text='Orders, charges and their movements of months that ended longer ago are deleted; statements, top-ups and gifts stay. Empty: they are kept for ever.', null=True, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(100)], verbose_name='years to keep the details of closed months'),
        ),
        # The column stays as it is; what it names may be gone.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveField(model_name='statementline', name='order'),
                migrations.AddField(
                    model_name='statementline',
                    name='order_id',
                    field=models.CharField(max_length=20, null=True, verbose_name='order'),
                ),
            ],
            database_operations=[
                migrations.AlterField(
                    model_name='statementline',
                    name='order',
                    field=models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='billing.order', verbose_name='order'),
                ),
            ],
        ),
        migrations.CreateModel(
            name='PrunedMonth',
            fields=[
                ('statement', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='pruned', serialize=False, to='billing.statement', verbose_name='statement')),
                ('month', models.DateField(verbose_name='month')),
                ('orders', models.PositiveBigIntegerField(verbose_name='orders')),
                ('charges', models.PositiveBigIntegerField(verbose_name='charges')),
                ('cash_minor', models.BigIntegerField(verbose_name='cash (minor units)')),
                ('gift_minor', models.BigIntegerField(verbose_name='gift (minor units)')),
                ('revenue_minor', models.BigIntegerField(verbose_name='revenue (minor units)')),
                ('pruned_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='deleted')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'month without details',
                'verbose_name_plural': 'months without details',
                'ordering': ['-month', 'tenant'],
            },
        ),
        migrations.AddConstraint(
            model_name='prunedmonth',
            constraint=models.UniqueConstraint(fields=('tenant', 'month'), name='pruned_month_once'),
        ),
        migrations.AddConstraint(
            model_name='prunedmonth',
            constraint=models.CheckConstraint(condition=models.Q(('cash_minor', models.expressions.CombinedExpression(models.expressions.CombinedExpression(models.Value(0), '-', models.F('gift_minor')), '-', models.F('revenue_minor')))), name='pruned_month_balanced'),
        ),
        migrations.RunSQL(RULES + GUARDS, NO_GUARDS + NO_RULES),
    ]
