import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tenancy', '0008_invitation'),
    ]

    operations = [
        migrations.CreateModel(
            name='SecondFactor',
            fields=[
                ('user', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='second_factor', serialize=False, to=settings.AUTH_USER_MODEL, verbose_name='user')),
                ('sealed_secret', models.BinaryField(verbose_name='secret')),
                ('last_step', models.BigIntegerField(default=0, editable=False, verbose_name='last interval')),
                ('turned_on_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='turned on')),
            ],
            options={
                'verbose_name': 'second factor',
                'verbose_name_plural': 'second factors',
            },
        ),
        migrations.AddField(
            model_name='platformsettings',
            name='second_factor_required',
            field=models.BooleanField(db_default=False, default=False, help_text='Administrators of the platform without one can only set it up after signing in. Tenants have a setting of their own.', verbose_name='administrators need a second factor'),
        ),
        migrations.AddField(
            model_name='tenant',
            name='second_factor_required',
            field=models.BooleanField(db_default=False, default=False, help_text='Users without one can only set it up after signing in. API keys go on.', verbose_name='every user needs a second factor'),
        ),
        migrations.CreateModel(
            name='RecoveryCode',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('digest', models.CharField(editable=False, max_length=64, verbose_name='digest')),
                ('used_at', models.DateTimeField(blank=True, null=True, verbose_name='used')),
                ('factor', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='recovery_codes', to='tenancy.secondfactor', verbose_name='second factor')),
            ],
            options={
                'verbose_name': 'recovery code',
                'verbose_name_plural': 'recovery codes',
                'constraints': [models.UniqueConstraint(fields=('factor', 'digest'), name='recovery_code_once')],
            },
        ),
    ]
