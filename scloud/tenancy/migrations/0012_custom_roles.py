import django.core.validators
import django.db.models.deletion
import django.db.models.functions.text
import scloud.tenancy.models
from decimal import Decimal
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tenancy', '0010_user_list_views'),
    ]

    operations = [
        migrations.AddField(
            model_name='apikey',
            name='expiry_told_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='expiry told'),
        ),
        migrations.AddField(
            model_name='apikey',
            name='last_used_ip',
            field=models.GenericIPAddressField(blank=True, null=True, verbose_name='last used from'),
        ),
        migrations.AddField(
            model_name='tenant',
            name='ask_above',
            field=models.DecimalField(db_default=Decimal('1000'), decimal_places=2, default=Decimal('1000'), help_text='Who pays more in the console has to enter the password again.', max_digits=14, validators=[django.core.validators.MinValueValidator(0)], verbose_name='confirm payments above'),
        ),
        migrations.AlterField(
            model_name='invitation',
            name='role',
            field=models.CharField(choices=[('owner', 'Owner'), ('administrator', 'Administrator'), ('operator', 'Operator'), ('finance', 'Finance'), ('readonly', 'Read-only'), ('custom', 'Role of the tenant')], max_length=20, verbose_name='role'),
        ),
        migrations.AlterField(
            model_name='user',
            name='role',
            field=models.CharField(choices=[('owner', 'Owner'), ('administrator', 'Administrator'), ('operator', 'Operator'), ('finance', 'Finance'), ('readonly', 'Read-only'), ('custom', 'Role of the tenant')], default='owner', max_length=20, verbose_name='role'),
        ),
        migrations.CreateModel(
            name='CustomRole',
            fields=[
                ('id', models.CharField(default=scloud.tenancy.models.role_id, editable=False, max_length=20, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=40, verbose_name='name')),
                ('permissions', models.JSONField(default=list, verbose_name='permissions')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenancy.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'role',
                'verbose_name_plural': 'roles',
                'ordering': ['name'],
            },
        ),
        migrations.AddField(
            model_name='invitation',
            name='custom_role',
            field=models.ForeignKey(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='invitations', to='tenancy.customrole', verbose_name='role of the tenant'),
        ),
        migrations.AddField(
            model_name='user',
            name='custom_role',
            field=models.ForeignKey(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='users', to='tenancy.customrole', verbose_name='role of the tenant'),
        ),
        migrations.AddConstraint(
            model_name='customrole',
            constraint=models.UniqueConstraint(models.F('tenant'), django.db.models.functions.text.Lower('name'), name='custom_role_name_once'),
        ),
    ]
