from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('alarms', '0008_pool_state'),
    ]

    operations = [
        migrations.AlterField(
            model_name='platformalarm',
            name='condition',
            field=models.CharField(choices=[('host_suspect', 'Host suspect'), ('host_not_off', 'Host not known to be off'), ('host_off', 'Host off'), ('host_silent', 'Host silent'), ('host_not_measured', 'Host not measured'), ('process_silent', 'Process silent'), ('pool_unusable', 'Storage pool not usable'), ('pool_nearly_full', 'Storage pool nearly full'), ('capacity_ends_soon', 'Capacity ends soon'), ('jobs_backlog', 'Jobs wait for a worker'), ('jobs_failed', 'Many failed jobs'), ('jobs_unknown', 'Jobs that no worker supports'), ('ledger_differs', 'Ledger differs'), ('date_ends_soon', 'Date ends soon')], max_length=40, verbose_name='condition'),
        ),
    ]
