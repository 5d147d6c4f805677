from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps


def forget_unanswered(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Requests that were never answered keep their key no longer."""
    apps.get_model("rest", "IdempotentRequest")._base_manager.filter(status=None).delete()


class Migration(migrations.Migration):
    dependencies = [("rest", "0001_initial")]

    operations = [
        migrations.RunPython(forget_unanswered, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="idempotentrequest",
            name="status",
            field=models.PositiveSmallIntegerField(),
        ),
    ]
