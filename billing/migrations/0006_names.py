"""Names of models, fields and choices; no column changes."""

import billing.models.ledger
import billing.models.orders
import billing.models.prices
import billing.models.quotas
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0005_words'),
        ('resources', '0002_names'),
        ('tenancy', '0006_names'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='account',
            options={'ordering': ['tenant'], 'verbose_name': 'account', 'verbose_name_plural': 'accounts'},
        ),
        migrations.AlterModelOptions(
            name='charge',
            options={'ordering': ['id'], 'verbose_name': 'charge', 'verbose_name_plural': 'charges'},
        ),
        migrations.AlterModelOptions(
            name='discount',
            options={'ordering': ['tenant', 'sku_prefix', '-effective_from'], 'verbose_name': 'discount', 'verbose_name_plural': 'discounts'},
        ),
        migrations.AlterModelOptions(
            name='ledgerentry',
            options={'ordering': ['id'], 'verbose_name': 'ledger entry', 'verbose_name_plural': 'ledger entries'},
        ),
        migrations.AlterModelOptions(
            name='ledgertransaction',
            options={'ordering': ['-created_at', '-id'], 'verbose_name': 'ledger transaction', 'verbose_name_plural': 'ledger transactions'},
        ),
        migrations.AlterModelOptions(
            name='order',
            options={'ordering': ['-created_at', '-id'], 'verbose_name': 'order', 'verbose_name_plural': 'orders'},
        ),
        migrations.AlterModelOptions(
            name='orderline',
            options={'ordering': ['id'], 'verbose_name': 'order line', 'verbose_name_plural': 'order lines'},
        ),
        migrations.AlterModelOptions(
            name='price',
            options={'ordering': ['sku', 'method'], 'verbose_name': 'price', 'verbose_name_plural': 'prices'},
        ),
        migrations.AlterModelOptions(
            name='pricelist',
            options={'ordering': ['region', '-version'], 'verbose_name': 'price list', 'verbose_name_plural': 'price lists'},
        ),
        migrations.AlterModelOptions(
            name='quotalimit',
            options={'ordering': ['tenant', 'region', 'item'], 'verbose_name': 'quota limit', 'verbose_name_plural': 'quota limits'},
        ),
        migrations.AlterModelOptions(
            name='quotarequest',
            options={'ordering': ['-created_at'], 'verbose_name': 'quota request', 'verbose_name_plural': 'quota requests'},
        ),
        migrations.AlterModelOptions(
            name='subscription',
            options={'ordering': ['paid_until', 'id'], 'verbose_name': 'subscription', 'verbose_name_plural': 'subscriptions'},
        ),
        migrations.AlterField(
            model_name='account',
            name='created_at',
            field=models.DateTimeField(auto_now_add=True, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='account',
            name='tenant',
            field=models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='billing_account', serialize=False, to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='charge',
            name='amount_minor',
            field=models.BigIntegerField(verbose_name='amount (minor units)'),
        ),
        migrations.AlterField(
            model_name='charge',
            name='anchor_day',
            field=models.PositiveSmallIntegerField(verbose_name='anchor day'),
        ),
        migrations.AlterField(
            model_name='charge',
            name='begin',
            field=models.DateTimeField(verbose_name='from'),
        ),
        migrations.AlterField(
            model_name='charge',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='charge',
            name='end',
            field=models.DateTimeField(verbose_name='until'),
        ),
        migrations.AlterField(
            model_name='charge',
            name='gift_minor',
            field=models.BigIntegerField(verbose_name='from gift (minor units)'),
        ),
        migrations.AlterField(
            model_name='charge',
            name='method',
            field=models.CharField(choices=[('hour', 'Hourly'), ('month', 'Monthly'), ('year', 'Yearly')], max_length=5, verbose_name='billing method'),
        ),
        migrations.AlterField(
            model_name='charge',
            name='order',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='charges', to='billing.order', verbose_name='order'),
        ),
        migrations.AlterField(
            model_name='charge',
            name='periods',
            field=models.DecimalField(decimal_places=6, max_digits=12, verbose_name='periods'),
        ),
        migrations.AlterField(
            model_name='charge',
            name='price_list',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.pricelist', verbose_name='price list'),
        ),
        migrations.AlterField(
            model_name='charge',
            name='priced_at',
            field=models.DateTimeField(verbose_name='priced'),
        ),
        migrations.AlterField(
            model_name='charge',
            name='refunds',
            field=models.OneToOneField(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='refunded_by', to='billing.charge', verbose_name='refunded charge'),
        ),
        migrations.AlterField(
            model_name='charge',
            name='resource_id',
            field=models.CharField(max_length=40, verbose_name='resource ID'),
        ),
        migrations.AlterField(
            model_name='charge',
            name='resource_kind',
            field=models.CharField(max_length=30, verbose_name='resource type'),
        ),
        migrations.AlterField(
            model_name='charge',
            name='resource_name',
            field=models.CharField(blank=True, max_length=100, verbose_name='resource name'),
        ),
        migrations.AlterField(
            model_name='charge',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='discount',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='discounts', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='ledgerentry',
            name='amount_minor',
            field=models.BigIntegerField(verbose_name='amount (minor units)'),
        ),
        migrations.AlterField(
            model_name='ledgerentry',
            name='pocket',
            field=models.CharField(choices=[('cash', 'Cash'), ('gift', 'Gift'), ('funding', 'Funding'), ('promotion', 'Promotion'), ('revenue', 'Revenue')], max_length=10, verbose_name='pocket'),
        ),
        migrations.AlterField(
            model_name='ledgerentry',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='ledgerentry',
            name='transaction',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='entries', to='billing.ledgertransaction', verbose_name='transaction'),
        ),
        migrations.AlterField(
            model_name='ledgertransaction',
            name='account',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='transactions', to='billing.account', verbose_name='account'),
        ),
        migrations.AlterField(
            model_name='ledgertransaction',
            name='actor',
            field=models.CharField(max_length=320, verbose_name='performed by'),
        ),
        migrations.AlterField(
            model_name='ledgertransaction',
            name='amount_minor',
            field=models.BigIntegerField(verbose_name='amount (minor units)'),
        ),
        migrations.AlterField(
            model_name='ledgertransaction',
            name='cash_after_minor',
            field=models.BigIntegerField(verbose_name='cash after (minor units)'),
        ),
        migrations.AlterField(
            model_name='ledgertransaction',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='ledgertransaction',
            name='gift_after_minor',
            field=models.BigIntegerField(verbose_name='gift after (minor units)'),
        ),
        migrations.AlterField(
            model_name='ledgertransaction',
            name='id',
            field=models.CharField(default=billing.models.ledger.transaction_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='ledgertransaction',
            name='idempotency_key',
            field=models.CharField(max_length=160, unique=True, verbose_name='idempotency key'),
        ),
        migrations.AlterField(
            model_name='ledgertransaction',
            name='kind',
            field=models.CharField(choices=[('recharge', 'Top up'), ('gift', 'Gift'), ('deduction', 'Deduction'), ('refund', 'Refund')], max_length=10, verbose_name='type'),
        ),
        migrations.AlterField(
            model_name='ledgertransaction',
            name='note',
            field=models.CharField(blank=True, max_length=300, verbose_name='note'),
        ),
        migrations.AlterField(
            model_name='ledgertransaction',
            name='order',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='transactions', to='billing.order', verbose_name='order'),
        ),
        migrations.AlterField(
            model_name='ledgertransaction',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='order',
            name='actor',
            field=models.CharField(max_length=320, verbose_name='performed by'),
        ),
        migrations.AlterField(
            model_name='order',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='order',
            name='currency',
            field=models.CharField(max_length=3, verbose_name='currency'),
        ),
        migrations.AlterField(
            model_name='order',
            name='details',
            field=models.JSONField(default=dict, verbose_name='details'),
        ),
        migrations.AlterField(
            model_name='order',
            name='gift_minor',
            field=models.BigIntegerField(verbose_name='from gift (minor units)'),
        ),
        migrations.AlterField(
            model_name='order',
            name='id',
            field=models.CharField(default=billing.models.orders.order_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='order',
            name='kind',
            field=models.CharField(choices=[('new', 'New'), ('renewal', 'Renewal'), ('upgrade', 'Upgrade'), ('refund', 'Refund')], max_length=8, verbose_name='type'),
        ),
        migrations.AlterField(
            model_name='order',
            name='method',
            field=models.CharField(choices=[('hour', 'Hourly'), ('month', 'Monthly'), ('year', 'Yearly')], max_length=5, verbose_name='billing method'),
        ),
        migrations.AlterField(
            model_name='order',
            name='note',
            field=models.CharField(blank=True, max_length=300, verbose_name='note'),
        ),
        migrations.AlterField(
            model_name='order',
            name='quote_nonce',
            field=models.CharField(max_length=40, null=True, unique=True, verbose_name='quote'),
        ),
        migrations.AlterField(
            model_name='order',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='order',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='orders', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='order',
            name='total_minor',
            field=models.BigIntegerField(verbose_name='total (minor units)'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='amount_minor',
            field=models.BigIntegerField(verbose_name='amount (minor units)'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='charge',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='lines', to='billing.charge', verbose_name='charge'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='discount',
            field=models.DecimalField(decimal_places=4, max_digits=5, verbose_name='discount'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='label',
            field=models.CharField(blank=True, max_length=120, verbose_name='label'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='order',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='lines', to='billing.order', verbose_name='order'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='periods',
            field=models.DecimalField(decimal_places=6, max_digits=12, verbose_name='periods'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='quantity',
            field=models.DecimalField(decimal_places=6, max_digits=18, verbose_name='quantity'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='unit_price',
            field=models.DecimalField(decimal_places=6, max_digits=18, verbose_name='unit price'),
        ),
        migrations.AlterField(
            model_name='price',
            name='method',
            field=models.CharField(choices=[('hour', 'Hourly'), ('month', 'Monthly'), ('year', 'Yearly')], max_length=5, verbose_name='billing method'),
        ),
        migrations.AlterField(
            model_name='price',
            name='price_list',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='prices', to='billing.pricelist', verbose_name='price list'),
        ),
        migrations.AlterField(
            model_name='pricelist',
            name='created_at',
            field=models.DateTimeField(auto_now_add=True, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='pricelist',
            name='id',
            field=models.CharField(default=billing.models.prices.price_list_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='pricelist',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='price_lists', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='pricelist',
            name='version',
            field=models.PositiveIntegerField(editable=False, verbose_name='version'),
        ),
        migrations.AlterField(
            model_name='quotalimit',
            name='item',
            field=models.CharField(choices=[('vms', 'VMs'), ('vcpu', 'vCPU'), ('memory_gib', 'Memory (GB)'), ('gpus', 'GPUs'), ('disks', 'Disks'), ('disk_gib', 'Disk space (GB)'), ('snapshots', 'Snapshots'), ('images', 'Images'), ('image_gib', 'Image storage (GB)'), ('bin_gib', 'Recycle bin (GB)'), ('eips', 'External IPs'), ('bandwidth_mbps', 'Bandwidth (Mb/s)'), ('vpcs', 'VPCs'), ('subnets', 'Subnets'), ('enis', 'ENIs'), ('security_groups', 'Security groups')], max_length=20, verbose_name='quota'),
        ),
        migrations.AlterField(
            model_name='quotalimit',
            name='region',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='quotalimit',
            name='tenant',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='quota_limits', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='quotarequest',
            name='answer',
            field=models.CharField(blank=True, max_length=300, verbose_name='answer'),
        ),
        migrations.AlterField(
            model_name='quotarequest',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='quotarequest',
            name='decided_at',
            field=models.DateTimeField(null=True, verbose_name='decided'),
        ),
        migrations.AlterField(
            model_name='quotarequest',
            name='decided_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='decided by'),
        ),
        migrations.AlterField(
            model_name='quotarequest',
            name='id',
            field=models.CharField(default=billing.models.quotas.quota_request_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='quotarequest',
            name='item',
            field=models.CharField(choices=[('vms', 'VMs'), ('vcpu', 'vCPU'), ('memory_gib', 'Memory (GB)'), ('gpus', 'GPUs'), ('disks', 'Disks'), ('disk_gib', 'Disk space (GB)'), ('snapshots', 'Snapshots'), ('images', 'Images'), ('image_gib', 'Image storage (GB)'), ('bin_gib', 'Recycle bin (GB)'), ('eips', 'External IPs'), ('bandwidth_mbps', 'Bandwidth (Mb/s)'), ('vpcs', 'VPCs'), ('subnets', 'Subnets'), ('enis', 'ENIs'), ('security_groups', 'Security groups')], max_length=20, verbose_name='quota'),
        ),
        migrations.AlterField(
            model_name='quotarequest',
            name='limit_before',
            field=models.BigIntegerField(verbose_name='limit at request'),
        ),
        migrations.AlterField(
            model_name='quotarequest',
            name='limit_wanted',
            field=models.BigIntegerField(validators=[django.core.validators.MinValueValidator(1)], verbose_name='requested limit'),
        ),
        migrations.AlterField(
            model_name='quotarequest',
            name='reason',
            field=models.TextField(blank=True, max_length=1000, verbose_name='reason'),
        ),
        migrations.AlterField(
            model_name='quotarequest',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='quotarequest',
            name='requested_by',
            field=models.CharField(max_length=320, verbose_name='requested by'),
        ),
        migrations.AlterField(
            model_name='quotarequest',
            name='status',
            field=models.CharField(choices=[('pending', 'Pending'), ('approved', 'Approved'), ('rejected', 'Rejected')], default='pending', max_length=8, verbose_name='status'),
        ),
        migrations.AlterField(
            model_name='quotarequest',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='quota_requests', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='anchor_day',
            field=models.PositiveSmallIntegerField(verbose_name='anchor day'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='ended_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='ended'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='expired_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='expired'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='in_bin',
            field=models.BooleanField(default=False, verbose_name='in the recycle bin'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='lines',
            field=models.JSONField(default=list, verbose_name='lines of the next period'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='method',
            field=models.CharField(choices=[('hour', 'Hourly'), ('month', 'Monthly'), ('year', 'Yearly')], max_length=5, verbose_name='billing method'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='overdue_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='overdue since'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='paid_until',
            field=models.DateTimeField(verbose_name='paid until'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='period_start',
            field=models.DateTimeField(verbose_name='start of the period'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='region',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='resources.region', verbose_name='region'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='resource_id',
            field=models.CharField(max_length=40, unique=True, verbose_name='resource ID'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='resource_kind',
            field=models.CharField(max_length=30, verbose_name='resource type'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='resource_name',
            field=models.CharField(blank=True, max_length=100, verbose_name='resource name'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='status',
            field=models.CharField(choices=[('active', 'Active'), ('expired', 'Expired'), ('ended', 'Ended')], default='active', max_length=8, verbose_name='status'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='subscriptions', to='tenancy.tenant', verbose_name='tenant'),
        ),
    ]
