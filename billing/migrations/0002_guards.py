"""Triggers by which the books guard themselves, whatever code or person writes to them."""

from django.db import migrations

REFUSE = """
CREATE FUNCTION billing_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or deleted', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
"""

APPEND_ONLY = (
    "billing_ledgertransaction",
    "billing_ledgerentry",
    "billing_order",
    "billing_orderline",
    "billing_charge",
)

BALANCED = """
CREATE FUNCTION billing_check_transaction() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    checked text;
    off bigint;
    to_tenant bigint;
    stated bigint;
BEGIN
    IF TG_TABLE_NAME = 'billing_ledgertransaction' THEN
        checked := NEW.id;
    ELSE
        checked := NEW.transaction_id;
    END IF;
    SELECT COALESCE(SUM(amount_minor), 0),
           COALESCE(SUM(amount_minor) FILTER (WHERE pocket IN ('cash', 'gift')), 0)
      INTO off, to_tenant
      FROM billing_ledgerentry WHERE transaction_id = checked;
    SELECT amount_minor INTO stated FROM billing_ledgertransaction WHERE id = checked;
    IF off <> 0 THEN
        RAISE EXCEPTION 'entries of transaction % add up to %, not to 0', checked, off
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF to_tenant IS DISTINCT FROM stated THEN
        RAISE EXCEPTION 'transaction % states %, its entries move %', checked, stated, to_tenant
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER billing_transaction_balanced
    AFTER INSERT ON billing_ledgertransaction
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION billing_check_transaction();
CREATE CONSTRAINT TRIGGER billing_entry_balanced
    AFTER INSERT ON billing_ledgerentry
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION billing_check_transaction();
"""

FROZEN = """
CREATE FUNCTION billing_freeze_price_list() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.published_at IS NOT NULL THEN
        RAISE EXCEPTION 'price list % is published and never changes', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_price_list_frozen
    BEFORE UPDATE OR DELETE ON billing_pricelist
    FOR EACH ROW EXECUTE FUNCTION billing_freeze_price_list();

CREATE FUNCTION billing_freeze_price() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched text[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        touched := ARRAY[NEW.price_list_id];
    ELSIF TG_OP = 'DELETE' THEN
        touched := ARRAY[OLD.price_list_id];
    ELSE
        touched := ARRAY[OLD.price_list_id, NEW.price_list_id];
    END IF;
    IF EXISTS (SELECT 1 FROM billing_pricelist
                WHERE id = ANY (touched) AND published_at IS NOT NULL) THEN
        RAISE EXCEPTION 'prices of a published list never change'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_price_frozen
    BEFORE INSERT OR UPDATE OR DELETE ON billing_price
    FOR EACH ROW EXECUTE FUNCTION billing_freeze_price();
"""

UNDO = """
DROP TRIGGER billing_price_frozen ON billing_price;
DROP FUNCTION billing_freeze_price();
DROP TRIGGER billing_price_list_frozen ON billing_pricelist;
DROP FUNCTION billing_freeze_price_list();
DROP TRIGGER billing_entry_balanced ON billing_ledgerentry;
DROP TRIGGER billing_transaction_balanced ON billing_ledgertransaction;
DROP FUNCTION billing_check_transaction();
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial")]

    operations = [
        migrations.RunSQL(REFUSE, "DROP FUNCTION billing_refuse_change();"),
        *[
            migrations.RunSQL(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();",
                f"DROP TRIGGER {table}_append_only ON {table};",
            )
            for table in APPEND_ONLY
        ],
        migrations.RunSQL(BALANCED + FROZEN, UNDO),
    ]
