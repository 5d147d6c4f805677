"""A VM that starts on a host after it was on none has moved, too.

So has one whose host was emptied for maintenance. What gets a host without being started there,
such as by its restore from the recycle bin, takes no load along.
"""

import django.db.models.deletion
from django.db import migrations, models


NOTE = """
DROP TRIGGER compute_vm_note_move ON compute_vm;
CREATE TRIGGER compute_vm_note_move AFTER UPDATE OF host_id ON compute_vm
    FOR EACH ROW WHEN (
        NEW.host_id IS NOT NULL AND OLD.host_id IS DISTINCT FROM NEW.host_id
        AND (OLD.host_id IS NOT NULL OR NEW.task IN ('starting', 'failing_over'))
    )
    EXECUTE FUNCTION compute_vm_note_move();
"""
AS_BEFORE = """
DELETE FROM compute_vmmove WHERE source_id IS NULL;
DROP TRIGGER compute_vm_note_move ON compute_vm;
CREATE TRIGGER compute_vm_note_move AFTER UPDATE OF host_id ON compute_vm
    FOR EACH ROW WHEN (
        OLD.host_id IS NOT NULL AND NEW.host_id IS NOT NULL AND OLD.host_id <> NEW.host_id
    )
    EXECUTE FUNCTION compute_vm_note_move();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('compute', '0029_host_test'),
    ]

    operations = [
        migrations.AlterField(
            model_name='vmmove',
            name='source',
            field=models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='compute.host', verbose_name='from'),
        ),
        migrations.RunSQL(NOTE, AS_BEFORE),
    ]
