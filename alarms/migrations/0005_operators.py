import alarms.models.operators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('alarms', '0004_notices'),
        ('tenancy', '0007_refund_pro_rata'),
    ]

    operations = [
        migrations.CreateModel(
            name='PlatformAlarm',
            fields=[
                ('id', models.CharField(default=alarms.models.operators.platform_alarm_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID')),
                ('condition', models.CharField(choices=[('host_silent', 'Host silent'), ('host_not_measured', 'Host not measured'), ('process_silent', 'Process silent'), ('pool_nearly_full', 'Storage pool nearly full'), ('capacity_ends_soon', 'Capacity ends soon'), ('jobs_backlog', 'Jobs wait for a worker'), ('jobs_failed', 'Many failed jobs'), ('jobs_unknown', 'Jobs that no worker supports'), ('ledger_differs', 'Ledger differs'), ('date_ends_soon', 'Date ends soon')], max_length=40, verbose_name='condition')),
                ('subject', models.CharField(blank=True, max_length=200, verbose_name='subject')),
                ('severity', models.CharField(choices=[('info', 'Info'), ('warning', 'Warning'), ('critical', 'Critical')], max_length=10, verbose_name='severity')),
                ('text', models.CharField(max_length=400, verbose_name='message')),
                ('first_seen_at', models.DateTimeField(verbose_name='first seen')),
                ('last_seen_at', models.DateTimeField(verbose_name='last seen')),
                ('opened_at', models.DateTimeField(null=True, verbose_name='opened')),
                ('recovered_at', models.DateTimeField(null=True, verbose_name='recovered')),
                ('acknowledged_at', models.DateTimeField(null=True, verbose_name='acknowledged')),
                ('acknowledged_by', models.CharField(blank=True, max_length=320, verbose_name='acknowledged by')),
            ],
            options={
                'verbose_name': 'alarm of the platform',
                'verbose_name_plural': 'alarms of the platform',
                'ordering': ['-opened_at', 'id'],
                'indexes': [models.Index(fields=['-opened_at'], name='platform_alarm_opened'), models.Index(fields=['recovered_at'], name='platform_alarm_recovered')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('recovered_at__isnull', True)), fields=('condition', 'subject'), name='one_open_platform_alarm')],
            },
        ),
        migrations.CreateModel(
            name='OperatorContact',
            fields=[
            ],
            options={
                'verbose_name': "operators' e-mail address",
                'verbose_name_plural': "operators' e-mail addresses",
                'proxy': True,
                'indexes': [],
                'constraints': [],
            },
            bases=('alarms.contact',),
        ),
        migrations.CreateModel(
            name='OperatorWebhook',
            fields=[
            ],
            options={
                'verbose_name': "operators' webhook",
                'verbose_name_plural': "operators' webhooks",
                'proxy': True,
                'indexes': [],
                'constraints': [],
            },
            bases=('alarms.webhook',),
        ),
        migrations.AlterField(
            model_name='contact',
            name='tenant',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='webhook',
            name='tenant',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='webhook',
            name='group',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='webhooks', to='alarms.notificationgroup', verbose_name='group'),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='tenant',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='notice',
            name='tenant',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenancy.tenant'),
        ),
        migrations.AlterField(
            model_name='notice',
            name='alarm',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='alarms.alarm'),
        ),
        migrations.AddField(
            model_name='notice',
            name='about',
            field=models.JSONField(null=True),
        ),
        migrations.AddConstraint(
            model_name='contact',
            constraint=models.UniqueConstraint(condition=models.Q(('tenant__isnull', True)), fields=('email',), name='one_operator_contact_of_an_email'),
        ),
        migrations.AddConstraint(
            model_name='webhook',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('group__isnull', False), ('tenant__isnull', False)), models.Q(('group__isnull', True), ('tenant__isnull', True)), _connector='OR'), name='a_tenants_webhook_has_a_group'),
        ),
        migrations.AddConstraint(
            model_name='notice',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('about__isnull', True), ('alarm__isnull', False)), models.Q(('about__isnull', False), ('alarm__isnull', True)), _connector='OR'), name='a_notice_is_about_one_thing'),
        ),
    ]
