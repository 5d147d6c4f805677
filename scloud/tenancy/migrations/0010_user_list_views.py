from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenancy", "0009_second_factor"),
    ]

    operations = [
        migrations.AddField(
            model_name="user",
            name="list_views",
            field=models.JSONField(
                db_default=models.Value({}, models.JSONField()),
                default=dict,
                editable=False,
                verbose_name="saved views",
            ),
        ),
    ]
