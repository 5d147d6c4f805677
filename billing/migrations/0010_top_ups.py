"""Top-ups with receipts, gifts with a last day, settings of billing."""

import billing.models.topups
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from decimal import Decimal
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0009_reminders'),
        ('tenancy', '0007_refund_pro_rata'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name='ledgertransaction',
            name='kind',
            field=models.CharField(choices=[('recharge', 'Top up'), ('gift', 'Gift'), ('deduction', 'Deduction'), ('refund', 'Refund'), ('expiry', 'Gift expired')], max_length=10, verbose_name='type'),
        ),
        migrations.CreateModel(
            name='BillingSettings',
            fields=[
                ('id', models.PositiveSmallIntegerField(default=1, editable=False, primary_key=True, serialize=False, verbose_name='ID')),
                ('four_eyes_above', models.DecimalField(blank=True, decimal_places=6, default=Decimal('100000'), help_text='Gifts count as well. 0 means every top-up, empty means none.', max_digits=18, null=True, validators=[django.core.validators.MinValueValidator(0)], verbose_name='top-ups above this amount need a second administrator')),
            ],
            options={
                'verbose_name': 'billing settings',
                'verbose_name_plural': 'billing settings',
                'constraints': [models.CheckConstraint(condition=models.Q(('id', 1)), name='one_billing_settings_row')],
            },
        ),
        migrations.CreateModel(
            name='GiftLot',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('granted_minor', models.BigIntegerField(verbose_name='granted (minor units)')),
                ('left_minor', models.BigIntegerField(verbose_name='left (minor units)')),
                ('expires_at', models.DateTimeField(verbose_name='expires')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='created')),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='gift_lots', to='billing.account', verbose_name='account')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'gift with expiry',
                'verbose_name_plural': 'gifts with expiry',
                'ordering': ['expires_at', 'id'],
            },
        ),
        migrations.CreateModel(
            name='GiftMove',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('amount_minor', models.BigIntegerField(verbose_name='amount (minor units)')),
                ('lot', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='moves', to='billing.giftlot', verbose_name='gift')),
                ('order', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.order', verbose_name='order')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant')),
                ('transaction', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='gift_moves', to='billing.ledgertransaction', verbose_name='transaction')),
            ],
            options={
                'verbose_name': 'move of a gift',
                'verbose_name_plural': 'moves of gifts',
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='TopUp',
            fields=[
                ('id', models.CharField(default=billing.models.topups.top_up_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID')),
                ('amount_minor', models.BigIntegerField(verbose_name='amount (minor units)')),
                ('gift', models.BooleanField(default=False, verbose_name='as a gift')),
                ('gift_expires_at', models.DateTimeField(blank=True, null=True, verbose_name='gift expires')),
                ('receipt', models.CharField(blank=True, max_length=60, verbose_name='receipt number')),
                ('remark', models.CharField(blank=True, max_length=200, verbose_name='note')),
                ('status', models.CharField(choices=[('pending', 'Awaiting a second administrator'), ('booked', 'Booked'), ('rejected', 'Rejected')], default='pending', max_length=8, verbose_name='status')),
                ('decided_at', models.DateTimeField(blank=True, null=True, verbose_name='decided')),
                ('answer', models.CharField(blank=True, max_length=200, verbose_name='answer')),
                ('idempotency_key', models.CharField(max_length=160, unique=True, verbose_name='idempotency key')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='entered')),
                ('decided_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='decided by')),
                ('entered_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='entered by')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='top_ups', to='tenancy.tenant', verbose_name='tenant')),
                ('transaction', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='top_up', to='billing.ledgertransaction', verbose_name='transaction')),
            ],
            options={
                'verbose_name': 'top-up',
                'verbose_name_plural': 'top-ups',
                'ordering': ['-created_at', '-id'],
            },
        ),
        migrations.AddIndex(
            model_name='giftlot',
            index=models.Index(condition=models.Q(('left_minor__gt', 0)), fields=['account', 'expires_at'], name='gift_lot_with_money'),
        ),
        migrations.AddConstraint(
            model_name='giftlot',
            constraint=models.CheckConstraint(condition=models.Q(('left_minor__gte', 0), ('left_minor__lte', models.F('granted_minor'))), name='gift_lot_left'),
        ),
        migrations.AddConstraint(
            model_name='giftmove',
            constraint=models.CheckConstraint(condition=models.Q(('amount_minor', 0), _negated=True), name='gift_move_moves_something'),
        ),
        migrations.AddConstraint(
            model_name='topup',
            constraint=models.CheckConstraint(condition=models.Q(('amount_minor__gt', 0)), name='top_up_positive'),
        ),
        migrations.AddConstraint(
            model_name='topup',
            constraint=models.UniqueConstraint(condition=models.Q(models.Q(('receipt', ''), _negated=True), models.Q(('status', 'rejected'), _negated=True)), fields=('receipt',), name='top_up_receipt_once'),
        ),
        migrations.AddConstraint(
            model_name='topup',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('status', 'booked'), ('transaction__isnull', False)), models.Q(models.Q(('status', 'booked'), _negated=True), ('transaction__isnull', True)), _connector='OR'), name='top_up_booked_with_transaction'),
        ),
        migrations.AddConstraint(
            model_name='topup',
            constraint=models.CheckConstraint(condition=models.Q(('gift_expires_at__isnull', True), ('gift', True), _connector='OR'), name='top_up_only_gifts_expire'),
        ),
        migrations.RunSQL(
            "CREATE TRIGGER billing_giftmove_append_only BEFORE UPDATE OR DELETE ON billing_giftmove "
            "FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();",
            "DROP TRIGGER billing_giftmove_append_only ON billing_giftmove;",
        ),
    ]
