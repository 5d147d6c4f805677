"""Keys that could spend money before spending had a scope of its own keep being able to."""

from django.db import migrations

SPEND = "billing.spend"


def give_spending(apps, schema_editor):
    """Only areas where something costs money, and only keys that could do more than look."""
    keys = apps.get_model("tenancy", "ApiKey").objects
    for key in keys.exclude(scopes=[]).iterator():
        spends = {"compute.*", "network.*"} & set(key.scopes)
        if spends and not {"billing.*", SPEND} & set(key.scopes):
            keys.filter(pk=key.pk).update(scopes=[*key.scopes, SPEND])


class Migration(migrations.Migration):
    dependencies = [("tenancy", "0003_keys_and_callers")]

    operations = [migrations.RunPython(give_spending, migrations.RunPython.noop)]
