"""Identity providers, who is whom there, and what their groups are here."""

import django.db.models.deletion
import django.utils.timezone
import scloud.tenancy.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tenancy', '0014_staff_role'),
    ]

    operations = [
        migrations.CreateModel(
            name='IdentityProvider',
            fields=[
                ('id', models.CharField(default=scloud.tenancy.models.provider_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID')),
                ('label', models.CharField(help_text='What the button says.', max_length=40, unique=True, verbose_name='label')),
                ('issuer', models.CharField(help_text='Exactly as the provider writes it, such as https://id.example.org/realm.', max_length=400, unique=True, verbose_name='issuer')),
                ('client_id', models.CharField(max_length=255, verbose_name='client ID')),
                ('sealed_secret', models.TextField(default='', editable=False, verbose_name='client secret')),
                ('scopes', models.CharField(default='openid email profile', max_length=200, verbose_name='scopes')),
                ('groups_claim', models.CharField(default='groups', help_text='Of the ID token: a list of names.', max_length=100, verbose_name='claim with the groups')),
                ('is_on', models.BooleanField(default=False, help_text='Turned off, it signs nobody in. Sessions that began before go on; unlinking identities ends them.', verbose_name='on')),
                ('creates_users', models.BooleanField(default=False, help_text='Who signs in for the first time becomes a user, by the groups below.', verbose_name='creates users')),
                ('domains', models.CharField(blank=True, default='', help_text='Of the addresses of users that it creates, separated by spaces, such as example.org. * stands for any: for a provider of which nobody can have addresses of others confirmed, so for none that a tenant runs.', max_length=1000, verbose_name='domains')),
                ('factor_values', models.CharField(blank=True, default='', help_text='Of amr or acr in the ID token, separated by spaces, such as mfa. Empty: the platform asks for its own second factor.', max_length=400, verbose_name='values that count as second factor')),
                ('endpoints', models.JSONField(default=dict, editable=False, verbose_name='endpoints')),
                ('public_keys', models.JSONField(default=list, editable=False, verbose_name='public keys')),
                ('keys_read_at', models.DateTimeField(editable=False, null=True, verbose_name='keys read')),
                ('tested_at', models.DateTimeField(editable=False, null=True, verbose_name='tested')),
                ('test_error', models.CharField(default='', editable=False, max_length=300, verbose_name='error')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
            ],
            options={
                'verbose_name': 'identity provider',
                'verbose_name_plural': 'identity providers',
                'ordering': ['label'],
            },
        ),
        migrations.CreateModel(
            name='UsedAnswer',
            fields=[
                ('digest', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('at', models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name='Identity',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('issuer', models.CharField(max_length=400, verbose_name='issuer')),
                ('subject', models.CharField(max_length=255, verbose_name='subject')),
                ('linked_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='linked')),
                ('last_used_at', models.DateTimeField(blank=True, null=True, verbose_name='last used')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='identities', to=settings.AUTH_USER_MODEL, verbose_name='user')),
                ('provider', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='identities', to='tenancy.identityprovider', verbose_name='provider')),
            ],
            options={
                'verbose_name': 'linked identity',
                'verbose_name_plural': 'linked identities',
                'ordering': ['-linked_at'],
                'constraints': [models.UniqueConstraint(fields=('issuer', 'subject'), name='identity_once'), models.UniqueConstraint(fields=('user', 'provider'), name='identity_of_user_once')],
            },
        ),
        migrations.CreateModel(
            name='GroupMapping',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveSmallIntegerField(default=0, verbose_name='position')),
                ('group', models.CharField(max_length=255, verbose_name='group')),
                ('role', models.CharField(blank=True, choices=[('owner', 'Owner'), ('administrator', 'Administrator'), ('operator', 'Operator'), ('finance', 'Finance'), ('readonly', 'Read-only')], default='', max_length=20, verbose_name='role')),
                ('staff_role', models.CharField(blank=True, choices=[('support', 'Support'), ('finance', 'Finance'), ('operations', 'Operations')], default='', max_length=12, verbose_name='role of staff')),
                ('custom_role', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='tenancy.customrole', verbose_name='role of the tenant')),
                ('tenant', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenancy.tenant', verbose_name='tenant')),
                ('provider', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='mappings', to='tenancy.identityprovider', verbose_name='provider')),
            ],
            options={
                'verbose_name': 'group of a provider',
                'verbose_name_plural': 'groups of providers',
                'ordering': ['position', 'pk'],
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('staff_role', ''), ('tenant__isnull', False)), models.Q(('custom_role__isnull', True), ('role', ''), ('tenant__isnull', True), models.Q(('staff_role', ''), _negated=True)), _connector='OR'), name='group_of_tenant_or_staff')],
            },
        ),
    ]
