"""Count the changes of a VM that make earlier observations of it worthless.

A trigger counts, so that workers of the version before this one are counted too.
"""

from django.db import migrations, models

COUNT = """
CREATE FUNCTION compute_vm_count_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.revision := OLD.revision;
    IF (NEW.status, NEW.task, NEW.task_job, NEW.host_id, NEW.destination_id)
        IS DISTINCT FROM (OLD.status, OLD.task, OLD.task_job, OLD.host_id, OLD.destination_id)
    THEN
        NEW.revision := OLD.revision + 1;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER compute_vm_revision BEFORE UPDATE ON compute_vm
    FOR EACH ROW EXECUTE FUNCTION compute_vm_count_revision();
"""
FORGET = """
DROP TRIGGER compute_vm_revision ON compute_vm;
DROP FUNCTION compute_vm_count_revision();
"""


class Migration(migrations.Migration):
    dependencies = [("compute", "0003_names_and_image_capabilities")]

    operations = [
        migrations.AddField(
            "vm",
            "revision",
            models.PositiveBigIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.RunSQL(COUNT, FORGET),
    ]
