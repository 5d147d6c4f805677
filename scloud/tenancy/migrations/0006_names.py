"""Names of models, fields and choices; no column changes."""

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import scloud.tenancy.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tenancy', '0005_events_keep_days'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='apikey',
            options={'ordering': ['-created_at'], 'verbose_name': 'API key', 'verbose_name_plural': 'API keys'},
        ),
        migrations.AlterModelOptions(
            name='loginattempt',
            options={'verbose_name': 'login attempt', 'verbose_name_plural': 'login attempts'},
        ),
        migrations.AlterModelOptions(
            name='tenant',
            options={'ordering': ['name'], 'verbose_name': 'tenant', 'verbose_name_plural': 'tenants'},
        ),
        migrations.AlterModelOptions(
            name='user',
            options={'ordering': ['email'], 'verbose_name': 'user', 'verbose_name_plural': 'users'},
        ),
        migrations.AlterModelOptions(
            name='usersession',
            options={'ordering': ['-last_seen_at'], 'verbose_name': 'session', 'verbose_name_plural': 'sessions'},
        ),
        migrations.AlterField(
            model_name='apikey',
            name='created_at',
            field=models.DateTimeField(auto_now_add=True, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='apikey',
            name='digest',
            field=models.CharField(editable=False, max_length=64, unique=True, verbose_name='digest'),
        ),
        migrations.AlterField(
            model_name='apikey',
            name='digest_key',
            field=models.CharField(blank=True, db_default='', editable=False, max_length=16, verbose_name='digest key'),
        ),
        migrations.AlterField(
            model_name='apikey',
            name='expires_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='expires'),
        ),
        migrations.AlterField(
            model_name='apikey',
            name='id',
            field=models.CharField(default=scloud.tenancy.models.api_key_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='apikey',
            name='last_used_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='last used'),
        ),
        migrations.AlterField(
            model_name='apikey',
            name='name',
            field=models.CharField(max_length=60, verbose_name='name'),
        ),
        migrations.AlterField(
            model_name='apikey',
            name='networks',
            field=models.JSONField(db_default=models.Value([], models.JSONField()), default=list, verbose_name='allowed networks'),
        ),
        migrations.AlterField(
            model_name='apikey',
            name='revoked_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='revoked'),
        ),
        migrations.AlterField(
            model_name='apikey',
            name='scopes',
            field=models.JSONField(default=list, verbose_name='scopes'),
        ),
        migrations.AlterField(
            model_name='apikey',
            name='tenant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='apikey',
            name='user',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='api_keys', to=settings.AUTH_USER_MODEL, verbose_name='user'),
        ),
        migrations.AlterField(
            model_name='loginattempt',
            name='account',
            field=models.CharField(blank=True, db_default='', max_length=270, verbose_name='account'),
        ),
        migrations.AlterField(
            model_name='loginattempt',
            name='at',
            field=models.DateTimeField(db_index=True, default=django.utils.timezone.now, verbose_name='time'),
        ),
        migrations.AlterField(
            model_name='loginattempt',
            name='email',
            field=models.CharField(db_index=True, max_length=254, verbose_name='e-mail'),
        ),
        migrations.AlterField(
            model_name='loginattempt',
            name='ip',
            field=models.GenericIPAddressField(null=True, verbose_name='IP address'),
        ),
        migrations.AlterField(
            model_name='loginattempt',
            name='known_browser',
            field=models.BooleanField(db_default=False, verbose_name='known browser'),
        ),
        migrations.AlterField(
            model_name='loginattempt',
            name='source',
            field=models.CharField(blank=True, db_default='', max_length=80, verbose_name='source'),
        ),
        migrations.AlterField(
            model_name='loginattempt',
            name='succeeded',
            field=models.BooleanField(verbose_name='succeeded'),
        ),
        migrations.AlterField(
            model_name='platformsettings',
            name='api_key_days',
            field=models.PositiveIntegerField(db_default=90, default=90, help_text='The default. Another period can be chosen for each key.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(3650)], verbose_name='API keys expire after (days)'),
        ),
        migrations.AlterField(
            model_name='platformsettings',
            name='bin_retention_s',
            field=models.PositiveIntegerField(default=360000, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(360000)], verbose_name='recycle bin retention (s)'),
        ),
        migrations.AlterField(
            model_name='platformsettings',
            name='expired_grace_days',
            field=models.PositiveIntegerField(default=7, verbose_name='days from expiry to the recycle bin'),
        ),
        migrations.AlterField(
            model_name='platformsettings',
            name='id',
            field=models.PositiveSmallIntegerField(default=1, editable=False, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='platformsettings',
            name='quota_enabled',
            field=models.BooleanField(default=True, verbose_name='enforce quotas'),
        ),
        migrations.AlterField(
            model_name='platformsettings',
            name='session_lifetime_h',
            field=models.PositiveIntegerField(db_default=12, default=12, help_text='Even while they are in use.', validators=[django.core.validators.MinValueValidator(1)], verbose_name='sessions end after (h)'),
        ),
        migrations.AlterField(
            model_name='platformsettings',
            name='snapshots_per_disk',
            field=models.PositiveIntegerField(default=10, help_text='0 means unlimited.', verbose_name='snapshots per disk'),
        ),
        migrations.AlterField(
            model_name='tenant',
            name='created_at',
            field=models.DateTimeField(auto_now_add=True, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='tenant',
            name='id',
            field=models.CharField(default=scloud.tenancy.models.tenant_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='user',
            name='created_at',
            field=models.DateTimeField(auto_now_add=True, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='user',
            name='is_active',
            field=models.BooleanField(default=True, verbose_name='active'),
        ),
        migrations.AlterField(
            model_name='user',
            name='is_staff',
            field=models.BooleanField(default=False, verbose_name='platform administrator'),
        ),
        migrations.AlterField(
            model_name='user',
            name='language',
            field=models.CharField(blank=True, max_length=10, verbose_name='language'),
        ),
        migrations.AlterField(
            model_name='user',
            name='role',
            field=models.CharField(choices=[('owner', 'Owner'), ('administrator', 'Administrator'), ('operator', 'Operator'), ('finance', 'Finance'), ('readonly', 'Read-only')], default='owner', max_length=20, verbose_name='role'),
        ),
        migrations.AlterField(
            model_name='user',
            name='tenant',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='users', to='tenancy.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='user',
            name='theme',
            field=models.CharField(choices=[('auto', 'auto'), ('light', 'light'), ('dark', 'dark')], default='auto', max_length=5, verbose_name='theme'),
        ),
        migrations.AlterField(
            model_name='user',
            name='time_zone',
            field=models.CharField(default='Asia/Shanghai', max_length=40, verbose_name='time zone'),
        ),
        migrations.AlterField(
            model_name='usersession',
            name='created_at',
            field=models.DateTimeField(auto_now_add=True, verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='usersession',
            name='ip',
            field=models.GenericIPAddressField(null=True, verbose_name='IP address'),
        ),
        migrations.AlterField(
            model_name='usersession',
            name='last_seen_at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='last seen'),
        ),
        migrations.AlterField(
            model_name='usersession',
            name='session_key',
            field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name='session'),
        ),
        migrations.AlterField(
            model_name='usersession',
            name='user',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='sessions', to=settings.AUTH_USER_MODEL, verbose_name='user'),
        ),
        migrations.AlterField(
            model_name='usersession',
            name='user_agent',
            field=models.CharField(blank=True, max_length=300, verbose_name='browser'),
        ),
    ]
