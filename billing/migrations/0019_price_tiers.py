"""Tiers of prices, and how many units of a resource lie below what an order line pays for.

Processes of the last release know no tiers: they take any of a price's tiers for its only price. A
list that has some must not be in force before they have ended.
"""

from django.db import migrations, models

# A published list never changes, so it is enough to look when it is published.
CHECK = """
CREATE FUNCTION billing_check_price_tiers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.published_at IS NOT NULL AND EXISTS (
        SELECT 1 FROM billing_price AS tier
         WHERE tier.price_list_id = NEW.id AND NOT EXISTS (
               SELECT 1 FROM billing_price AS first
                WHERE first.price_list_id = NEW.id AND first.sku = tier.sku
                  AND first.method = tier.method AND first.above = 0)
    ) THEN
        RAISE EXCEPTION 'price list % has a price without its first tier', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_price_list_tiers
    BEFORE INSERT OR UPDATE ON billing_pricelist
    FOR EACH ROW EXECUTE FUNCTION billing_check_price_tiers();
"""

UNDO = """
DROP TRIGGER billing_price_list_tiers ON billing_pricelist;
DROP FUNCTION billing_check_price_tiers();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0018_billing_address'),
    ]

    operations = [
        migrations.AddField(
            model_name='orderline',
            name='above',
            field=models.DecimalField(db_default=0, decimal_places=6, default=0, max_digits=18, verbose_name='above'),
        ),
        migrations.AddField(
            model_name='price',
            name='above',
            field=models.PositiveIntegerField(db_default=0, default=0, help_text='The price is that of each unit of a resource above this many. 0 is the first tier, which every price has; with price 0 there, units are free up to the next tier.', verbose_name='above'),
        ),
        migrations.AlterModelOptions(
            name='price',
            options={'ordering': ['sku', 'method', 'above'], 'verbose_name': 'price', 'verbose_name_plural': 'prices'},
        ),
        migrations.AddConstraint(
            model_name='price',
            constraint=models.UniqueConstraint(fields=('price_list', 'sku', 'method', 'above'), name='price_tier_once'),
        ),
        migrations.RemoveConstraint(
            model_name='price',
            name='price_once',
        ),
        migrations.RunSQL(CHECK, UNDO),
    ]
