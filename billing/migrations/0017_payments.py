"""Payments of tenants through a provider, their refunds, and the sandbox."""

import billing.models.payments
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from decimal import Decimal
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0016_costs'),
        ('tenancy', '0007_refund_pro_rata'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name='ledgertransaction',
            name='kind',
            field=models.CharField(choices=[('recharge', 'Top up'), ('gift', 'Gift'), ('deduction', 'Deduction'), ('refund', 'Refund'), ('expiry', 'Gift expired'), ('payout', 'Paid back')], max_length=10, verbose_name='type'),
        ),
        migrations.AlterField(
            model_name='statementmove',
            name='kind',
            field=models.CharField(choices=[('recharge', 'Top up'), ('gift', 'Gift'), ('deduction', 'Deduction'), ('refund', 'Refund'), ('expiry', 'Gift expired'), ('payout', 'Paid back')], max_length=10, verbose_name='type'),
        ),
        migrations.AddField(
            model_name='billingsettings',
            name='payment_least',
            field=models.DecimalField(blank=True, decimal_places=6, default=Decimal('1'), max_digits=18, null=True, validators=[django.core.validators.MinValueValidator(0)], verbose_name='smallest payment of a tenant'),
        ),
        migrations.AddField(
            model_name='billingsettings',
            name='payment_most',
            field=models.DecimalField(blank=True, decimal_places=6, default=Decimal('50000'), help_text='Through a payment provider, each time.', max_digits=18, null=True, validators=[django.core.validators.MinValueValidator(0)], verbose_name='largest payment of a tenant'),
        ),
        migrations.CreateModel(
            name='Payment',
            fields=[
                ('id', models.CharField(default=billing.models.payments.payment_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID')),
                ('provider', models.CharField(max_length=20, verbose_name='provider')),
                ('amount_minor', models.BigIntegerField(verbose_name='amount (minor units)')),
                ('refunded_minor', models.BigIntegerField(default=0, verbose_name='refunded (minor units)')),
                ('currency', models.CharField(max_length=3, verbose_name='currency')),
                ('status', models.CharField(choices=[('created', 'Created'), ('pending', 'Awaiting payment'), ('paid', 'Paid'), ('failed', 'Failed'), ('cancelled', 'Cancelled'), ('refunded', 'Refunded'), ('partly_refunded', 'Partly refunded')], default='created', max_length=16, verbose_name='status')),
                ('provider_name', models.CharField(blank=True, max_length=120, verbose_name='name at the provider')),
                ('page_url', models.CharField(blank=True, max_length=500, verbose_name='page of the provider')),
                ('reason', models.CharField(blank=True, max_length=200, verbose_name='reason')),
                ('started_by', models.CharField(max_length=320, verbose_name='started by')),
                ('idempotency_key', models.CharField(max_length=160, unique=True, verbose_name='idempotency key')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='started')),
                ('paid_at', models.DateTimeField(blank=True, null=True, verbose_name='paid')),
                ('asked_at', models.DateTimeField(blank=True, null=True, verbose_name='provider asked')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='payments', to='tenancy.tenant', verbose_name='tenant')),
                ('transaction', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='payment', to='billing.ledgertransaction', verbose_name='transaction')),
            ],
            options={
                'verbose_name': 'payment',
                'verbose_name_plural': 'payments',
                'ordering': ['-created_at', '-id'],
                'indexes': [models.Index(fields=['tenant', '-created_at'], name='payment_tenant_at'), models.Index(condition=models.Q(('status__in', ['created', 'pending'])), fields=['created_at'], name='payment_open')],
                'constraints': [models.CheckConstraint(condition=models.Q(('amount_minor__gt', 0)), name='payment_positive'), models.CheckConstraint(condition=models.Q(('refunded_minor__gte', 0), ('refunded_minor__lte', models.F('amount_minor'))), name='payment_refunded_within'), models.CheckConstraint(condition=models.Q(models.Q(('status__in', ['paid', 'refunded', 'partly_refunded']), ('transaction__isnull', False)), models.Q(('status__in', ['created', 'pending', 'failed', 'cancelled']), ('transaction__isnull', True)), _connector='OR'), name='payment_booked_with_transaction')],
            },
        ),
        migrations.CreateModel(
            name='PaymentRefund',
            fields=[
                ('id', models.CharField(default=billing.models.payments.payment_refund_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID')),
                ('amount_minor', models.BigIntegerField(verbose_name='amount (minor units)')),
                ('remark', models.CharField(max_length=200, verbose_name='note')),
                ('status', models.CharField(choices=[('pending', 'Awaiting a second administrator'), ('rejected', 'Rejected'), ('sent', 'At the provider'), ('done', 'Done'), ('failed', 'Failed')], default='pending', max_length=8, verbose_name='status')),
                ('reason', models.CharField(blank=True, max_length=200, verbose_name='reason')),
                ('decided_at', models.DateTimeField(blank=True, null=True, verbose_name='decided')),
                ('answer', models.CharField(blank=True, max_length=200, verbose_name='answer')),
                ('idempotency_key', models.CharField(max_length=160, unique=True, verbose_name='idempotency key')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='entered')),
                ('ended_at', models.DateTimeField(blank=True, null=True, verbose_name='ended')),
                ('decided_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='decided by')),
                ('entered_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='entered by')),
                ('payment', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='refunds', to='billing.payment', verbose_name='payment')),
                ('reversal', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='reversed_payment_refund', to='billing.ledgertransaction', verbose_name='reversal')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant')),
                ('transaction', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='payment_refund', to='billing.ledgertransaction', verbose_name='transaction')),
            ],
            options={
                'verbose_name': 'refund of a payment',
                'verbose_name_plural': 'refunds of payments',
                'ordering': ['-created_at', '-id'],
                'constraints': [models.CheckConstraint(condition=models.Q(('amount_minor__gt', 0)), name='payment_refund_positive'), models.CheckConstraint(condition=models.Q(models.Q(('status__in', ['sent', 'done', 'failed']), ('transaction__isnull', False)), models.Q(('status__in', ['pending', 'rejected']), ('transaction__isnull', True)), _connector='OR'), name='payment_refund_taken'), models.CheckConstraint(condition=models.Q(models.Q(('reversal__isnull', False), ('status', 'failed')), models.Q(models.Q(('status', 'failed'), _negated=True), ('reversal__isnull', True)), _connector='OR'), name='payment_refund_given_back')],
            },
        ),
        migrations.CreateModel(
            name='PaymentEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('provider', models.CharField(max_length=20, verbose_name='provider')),
                ('event_id', models.CharField(max_length=120, verbose_name='event')),
                ('said', models.CharField(max_length=200, verbose_name='what it says')),
                ('outcome', models.CharField(choices=[('applied', 'Applied'), ('nothing_new', 'Nothing new'), ('differs', 'Differs from our books'), ('repeated', 'Repeated')], max_length=12, verbose_name='outcome')),
                ('received_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='received')),
                ('payment', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='events', to='billing.payment', verbose_name='payment')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'event of a payment provider',
                'verbose_name_plural': 'events of payment providers',
                'ordering': ['id'],
                'constraints': [models.UniqueConstraint(fields=('provider', 'event_id'), name='payment_event_once')],
            },
        ),
        migrations.CreateModel(
            name='ProviderSecret',
            fields=[
                ('provider', models.CharField(max_length=20, primary_key=True, serialize=False, verbose_name='provider')),
                ('sealed', models.TextField(default='', verbose_name='sealed secret')),
            ],
            options={
                'verbose_name': 'secret of a payment provider',
                'verbose_name_plural': 'secrets of payment providers',
            },
        ),
        migrations.CreateModel(
            name='SandboxPayment',
            fields=[
                ('token', models.CharField(max_length=40, primary_key=True, serialize=False)),
                ('reference', models.CharField(max_length=20, unique=True)),
                ('amount_minor', models.BigIntegerField()),
                ('currency', models.CharField(max_length=3)),
                ('text', models.CharField(max_length=200)),
                ('return_url', models.CharField(max_length=500)),
                ('state', models.CharField(default='open', max_length=10)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'verbose_name': 'payment of the sandbox',
                'verbose_name_plural': 'payments of the sandbox',
            },
        ),
        migrations.CreateModel(
            name='SandboxRefund',
            fields=[
                ('refund', models.CharField(max_length=20, primary_key=True, serialize=False)),
                ('amount_minor', models.BigIntegerField()),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('payment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='refunds', to='billing.sandboxpayment')),
            ],
            options={
                'verbose_name': 'refund of the sandbox',
                'verbose_name_plural': 'refunds of the sandbox',
            },
        ),
        migrations.CreateModel(
            name='SandboxEvent',
            fields=[
                ('id', models.CharField(max_length=40, primary_key=True, serialize=False)),
                ('body', models.TextField()),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('delivered_at', models.DateTimeField(null=True)),
            ],
            options={
                'verbose_name': 'event of the sandbox',
                'verbose_name_plural': 'events of the sandbox',
                'ordering': ['created_at', 'id'],
                'indexes': [models.Index(condition=models.Q(('delivered_at__isnull', True)), fields=['created_at'], name='sandbox_event_waits')],
            },
        ),
        # Like the rest of the books: what a provider said and what was decided is never removed.
        migrations.RunSQL(
            "CREATE TRIGGER billing_payment_kept BEFORE DELETE ON billing_payment "
            "FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();"
            "CREATE TRIGGER billing_paymentrefund_kept BEFORE DELETE ON billing_paymentrefund "
            "FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();"
            "CREATE TRIGGER billing_paymentevent_kept BEFORE DELETE ON billing_paymentevent "
            "FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();",
            "DROP TRIGGER billing_payment_kept ON billing_payment;"
            "DROP TRIGGER billing_paymentrefund_kept ON billing_paymentrefund;"
            "DROP TRIGGER billing_paymentevent_kept ON billing_paymentevent;",
        ),
    ]
