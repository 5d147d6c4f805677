"""Use that is measured and charged afterwards. What has been charged is never changed."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

KINDS = [('new', 'New'), ('renewal', 'Renewal'), ('upgrade', 'Upgrade'), ('refund', 'Refund'), ('usage', 'Usage')]

KEPT = """
CREATE TRIGGER billing_usage_kept BEFORE UPDATE ON billing_usage
    FOR EACH ROW WHEN (OLD.charge_id IS NOT NULL) EXECUTE FUNCTION billing_refuse_change();

-- It goes with its charge, should that ever go, and in no other way.
CREATE TRIGGER billing_usage_not_deleted BEFORE DELETE ON billing_usage
    FOR EACH ROW WHEN (OLD.charge_id IS NOT NULL AND pg_trigger_depth() = 0)
    EXECUTE FUNCTION billing_refuse_change();
CREATE FUNCTION billing_forget_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM billing_usage USING gone WHERE billing_usage.charge_id = gone.id;
    RETURN NULL;
END $$;
CREATE TRIGGER billing_charge_usage AFTER DELETE ON billing_charge REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION billing_forget_usage();
"""

NOT_KEPT = """
DROP TRIGGER billing_charge_usage ON billing_charge;
DROP FUNCTION billing_forget_usage();
DROP TRIGGER billing_usage_not_deleted ON billing_usage;
DROP TRIGGER billing_usage_kept ON billing_usage;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0019_price_tiers'),
        ('resources', '0004_underlay_mtu'),
        ('tenancy', '0007_refund_pro_rata'),
    ]

    operations = [
        migrations.AlterField(
            model_name='order',
            name='kind',
            field=models.CharField(choices=KINDS, max_length=8, verbose_name='type'),
        ),
        migrations.AlterField(
            model_name='statementline',
            name='order_kind',
            field=models.CharField(choices=KINDS, max_length=8, verbose_name='type'),
        ),
        migrations.CreateModel(
            name='Usage',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sku', models.CharField(max_length=100, verbose_name='SKU')),
                ('resource_kind', models.CharField(max_length=30, verbose_name='resource type')),
                ('resource_id', models.CharField(max_length=40, verbose_name='resource ID')),
                ('resource_name', models.CharField(blank=True, max_length=100, verbose_name='resource name')),
                ('quantity', models.DecimalField(decimal_places=6, max_digits=18, verbose_name='quantity')),
                ('discount', models.DecimalField(decimal_places=4, max_digits=5, verbose_name='discount')),
                ('begin', models.DateTimeField(verbose_name='from')),
                ('end', models.DateTimeField(verbose_name='until')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='created')),
                ('charge', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='usage', to='billing.charge', verbose_name='charge')),
                ('price_list', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.pricelist', verbose_name='price list')),
                ('region', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='resources.region', verbose_name='region')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'usage',
                'verbose_name_plural': 'usage',
                'ordering': ['id'],
                'indexes': [
                    models.Index(fields=['tenant', 'end'], name='usage_tenant_end'),
                    models.Index(condition=models.Q(('charge__isnull', True)), fields=['tenant', 'end'], name='usage_open'),
                    models.Index(condition=models.Q(('charge__isnull', True)), fields=['end'], name='usage_open_end'),
                ],
                'constraints': [
                    models.UniqueConstraint(fields=('resource_id', 'resource_kind', 'begin'), name='usage_once'),
                    models.CheckConstraint(condition=models.Q(('end__gt', models.F('begin'))), name='usage_period'),
                    models.CheckConstraint(condition=models.Q(('quantity__gt', 0)), name='usage_has_units'),
                ],
            },
        ),
        migrations.RunSQL(KEPT, NOT_KEPT),
    ]
