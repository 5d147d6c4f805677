"""TRUNCATE fires no triggers of rows: the books refuse it by triggers of their own.

Old code empties nothing, so it runs on beside this.
"""

from django.db import migrations

BOOKS = (
    "billing_ledgertransaction",
    "billing_ledgerentry",
    "billing_order",
    "billing_orderline",
    "billing_charge",
    "billing_pricelist",
    "billing_price",
)

GUARD = "".join(
    f"""
CREATE TRIGGER {table}_not_truncated BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
"""
    for table in BOOKS
)
UNDO = "".join(f"DROP TRIGGER {table}_not_truncated ON {table};\n" for table in BOOKS)


class Migration(migrations.Migration):

    dependencies = [
        ("billing", "0003_image_and_bin_storage"),
    ]

    operations = [migrations.RunSQL(GUARD, UNDO)]
