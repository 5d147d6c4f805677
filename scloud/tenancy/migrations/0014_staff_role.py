"""A role for the staff of the platform; who has none stays an administrator."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenancy", "0012_custom_roles")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="staff_role",
            field=models.CharField(
                blank=True,
                choices=[
                    ("support", "Support"),
                    ("finance", "Finance"),
                    ("operations", "Operations"),
                ],
                db_default="",
                default="",
                help_text="Without a role: an administrator, who may do everything.",
                max_length=12,
                verbose_name="role of staff",
            ),
        ),
        migrations.AlterField(
            model_name="user",
            name="is_staff",
            field=models.BooleanField(default=False, verbose_name="staff of the platform"),
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(("is_superuser", False), ("staff_role", ""), _connector="OR"),
                name="user_role_is_no_administrator",
            ),
        ),
    ]
