from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tenancy', '0006_names'),
    ]

    operations = [
        migrations.AddField(
            model_name='platformsettings',
            name='refund_pro_rata',
            field=models.BooleanField(db_default=False, default=False, help_text='Off: the time used of a month or year that has begun is priced anew, by the hour or month. On: it costs its share of the month or year.', verbose_name='refund exactly pro rata'),
        ),
    ]
