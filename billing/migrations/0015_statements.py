"""Statements of closed months, the settings that they print, and the guards of both.

Old code makes no statements, and none of its movements lies in a closed month.
"""

import billing.models.statements
import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.expressions
import django.utils.timezone
from django.db import migrations, models

TABLES = ("billing_statement", "billing_statementmove", "billing_statementline")

# What belongs to a statement is written before it: the sums are compared once, when it comes.
WHOLE = """
CREATE FUNCTION billing_check_statement() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    former billing_statement%ROWTYPE;
    cash numeric;
    gift numeric;
    charged numeric;
    lines numeric;
BEGIN
    SELECT * INTO former FROM billing_statement
     WHERE tenant_id = NEW.tenant_id ORDER BY month DESC LIMIT 1;
    IF FOUND THEN
        IF NEW.sequence <> former.sequence + 1
           OR NEW.month <> former.month + interval '1 month'
           OR NEW."begin" <> former."end"
           OR NEW.opening_cash_minor <> former.closing_cash_minor
           OR NEW.opening_gift_minor <> former.closing_gift_minor THEN
            RAISE EXCEPTION 'statement % does not follow %', NEW.id, former.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF NEW.sequence <> 1 OR NEW.opening_cash_minor <> 0 OR NEW.opening_gift_minor <> 0 THEN
        RAISE EXCEPTION 'statement % is the first one and does not begin with nothing', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT COALESCE(SUM(cash_minor), 0), COALESCE(SUM(gift_minor), 0),
           COALESCE(-SUM(cash_minor + gift_minor)
                    FILTER (WHERE kind IN ('deduction', 'refund')), 0)
      INTO cash, gift, charged
      FROM billing_statementmove
     WHERE statement_id = NEW.id AND tenant_id = NEW.tenant_id;
    SELECT COALESCE(SUM(amount_minor), 0) INTO lines
      FROM billing_statementline
     WHERE statement_id = NEW.id AND tenant_id = NEW.tenant_id;
    IF NEW.opening_cash_minor + cash <> NEW.closing_cash_minor
       OR NEW.opening_gift_minor + gift <> NEW.closing_gift_minor
       OR charged <> NEW.charged_minor OR lines <> NEW.charged_minor THEN
        RAISE EXCEPTION 'statement % does not add up', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_statement_whole BEFORE INSERT ON billing_statement
    FOR EACH ROW EXECUTE FUNCTION billing_check_statement();

CREATE FUNCTION billing_check_statement_part() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM billing_statement WHERE id = NEW.statement_id) THEN
        RAISE EXCEPTION 'statement % is complete', NEW.statement_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_statementmove_before BEFORE INSERT ON billing_statementmove
    FOR EACH ROW EXECUTE FUNCTION billing_check_statement_part();
CREATE TRIGGER billing_statementline_before BEFORE INSERT ON billing_statementline
    FOR EACH ROW EXECUTE FUNCTION billing_check_statement_part();

CREATE FUNCTION billing_check_open_month() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM billing_statement
                WHERE tenant_id = NEW.tenant_id AND "end" > NEW.created_at) THEN
        RAISE EXCEPTION 'transaction % lies in a month that is closed', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_transaction_open_month BEFORE INSERT ON billing_ledgertransaction
    FOR EACH ROW EXECUTE FUNCTION billing_check_open_month();
"""
NOT_WHOLE = """
DROP TRIGGER billing_transaction_open_month ON billing_ledgertransaction;
DROP FUNCTION billing_check_open_month();
DROP TRIGGER billing_statementline_before ON billing_statementline;
DROP TRIGGER billing_statementmove_before ON billing_statementmove;
DROP FUNCTION billing_check_statement_part();
DROP TRIGGER billing_statement_whole ON billing_statement;
DROP FUNCTION billing_check_statement();
"""
KEPT = "".join(
    f"""
CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER {table}_not_truncated BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
"""
    for table in TABLES
)
NOT_KEPT = "".join(
    f"""
DROP TRIGGER {table}_not_truncated ON {table};
DROP TRIGGER {table}_append_only ON {table};
"""
    for table in TABLES
)


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0014_quota_templates'),
        ('tenancy', '0007_refund_pro_rata'),
    ]

    operations = [
        migrations.AddField(
            model_name='billingsettings',
            name='prices_include_tax',
            field=models.BooleanField(db_default=True, default=True, help_text='On: statements show the tax that is in what was charged. Off: no tax is charged, and they say so.', verbose_name='prices include tax'),
        ),
        migrations.AddField(
            model_name='billingsettings',
            name='seller',
            field=models.TextField(blank=True, db_default='', help_text='As many lines as it has.', max_length=500, verbose_name='name and address on statements'),
        ),
        migrations.AddField(
            model_name='billingsettings',
            name='seller_tax_id',
            field=models.CharField(blank=True, db_default='', max_length=40, verbose_name='tax number on statements'),
        ),
        migrations.AddField(
            model_name='billingsettings',
            name='tax_name',
            field=models.CharField(blank=True, db_default='', help_text='Such as VAT.', max_length=30, verbose_name='name of the tax'),
        ),
        migrations.AddField(
            model_name='billingsettings',
            name='tax_percent',
            field=models.DecimalField(blank=True, decimal_places=3, help_text='Statements that are closed from now on show it. Empty: no tax is shown.', max_digits=6, null=True, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(100)], verbose_name='tax rate in percent'),
        ),
        migrations.CreateModel(
            name='Statement',
            fields=[
                ('id', models.CharField(default=billing.models.statements.statement_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID')),
                ('month', models.DateField(verbose_name='month')),
                ('sequence', models.PositiveIntegerField(verbose_name='sequence')),
                ('begin', models.DateTimeField(verbose_name='from')),
                ('end', models.DateTimeField(verbose_name='until')),
                ('currency', models.CharField(max_length=3, verbose_name='currency')),
                ('opening_cash_minor', models.BigIntegerField(verbose_name='opening cash (minor units)')),
                ('opening_gift_minor', models.BigIntegerField(verbose_name='opening gift (minor units)')),
                ('closing_cash_minor', models.BigIntegerField(verbose_name='closing cash (minor units)')),
                ('closing_gift_minor', models.BigIntegerField(verbose_name='closing gift (minor units)')),
                ('charged_minor', models.BigIntegerField(verbose_name='charged (minor units)')),
                ('tax_name', models.CharField(blank=True, max_length=30, verbose_name='name of the tax')),
                ('tax_percent', models.DecimalField(blank=True, decimal_places=3, max_digits=6, null=True, verbose_name='tax rate in percent')),
                ('tax_included', models.BooleanField(default=True, verbose_name='prices include tax')),
                ('tax_minor', models.BigIntegerField(default=0, verbose_name='tax (minor units)')),
                ('buyer', models.TextField(verbose_name='customer')),
                ('buyer_tax_id', models.CharField(blank=True, max_length=40, verbose_name='tax number of the customer')),
                ('seller', models.TextField(blank=True, verbose_name='provider')),
                ('seller_tax_id', models.CharField(blank=True, max_length=40, verbose_name='tax number of the provider')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='created')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='statements', to='tenancy.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'statement',
                'verbose_name_plural': 'statements',
                'ordering': ['-month', 'tenant'],
            },
        ),
        migrations.CreateModel(
            name='StatementLine',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('resource_kind', models.CharField(max_length=30, verbose_name='resource type')),
                ('resource_id', models.CharField(max_length=40, verbose_name='resource ID')),
                ('resource_name', models.CharField(blank=True, max_length=100, verbose_name='resource name')),
                ('order_kind', models.CharField(choices=[('new', 'New'), ('renewal', 'Renewal'), ('upgrade', 'Upgrade'), ('refund', 'Refund')], max_length=8, verbose_name='type')),
                ('method', models.CharField(choices=[('hour', 'Hourly'), ('month', 'Monthly'), ('year', 'Yearly')], max_length=5, verbose_name='billing method')),
                ('begin', models.DateTimeField(verbose_name='from')),
                ('end', models.DateTimeField(verbose_name='until')),
                ('count', models.PositiveIntegerField(verbose_name='charges')),
                ('unit_minor', models.BigIntegerField(verbose_name='each (minor units)')),
                ('amount_minor', models.BigIntegerField(verbose_name='amount (minor units)')),
                ('gift_minor', models.BigIntegerField(verbose_name='from gift (minor units)')),
                ('tags', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=60), default=list, size=None, verbose_name='tags')),
                ('order', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.order', verbose_name='order')),
                ('statement', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='lines', to='billing.statement', verbose_name='statement')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'line of a statement',
                'verbose_name_plural': 'lines of statements',
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='StatementMove',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('recharge', 'Top up'), ('gift', 'Gift'), ('deduction', 'Deduction'), ('refund', 'Refund'), ('expiry', 'Gift expired')], max_length=10, verbose_name='type')),
                ('cash_minor', models.BigIntegerField(verbose_name='cash (minor units)')),
                ('gift_minor', models.BigIntegerField(verbose_name='gift (minor units)')),
                ('statement', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='moves', to='billing.statement', verbose_name='statement')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'movement of a statement',
                'verbose_name_plural': 'movements of statements',
                'ordering': ['id'],
            },
        ),
        migrations.AddConstraint(
            model_name='statement',
            constraint=models.UniqueConstraint(fields=('tenant', 'month'), name='statement_once'),
        ),
        migrations.AddConstraint(
            model_name='statement',
            constraint=models.UniqueConstraint(fields=('tenant', 'sequence'), name='statement_sequence'),
        ),
        migrations.AddConstraint(
            model_name='statement',
            constraint=models.CheckConstraint(condition=models.Q(('end__gt', models.F('begin'))), name='statement_period'),
        ),
        migrations.AddConstraint(
            model_name='statementline',
            constraint=models.CheckConstraint(condition=models.Q(('amount_minor', django.db.models.expressions.CombinedExpression(models.F('unit_minor'), '*', models.F('count')))), name='statement_line_adds_up'),
        ),
        migrations.AddConstraint(
            model_name='statementmove',
            constraint=models.UniqueConstraint(fields=('statement', 'kind'), name='statement_move_once'),
        ),
        migrations.RunSQL(WHOLE + KEPT, NOT_KEPT + NOT_WHOLE),
    ]
