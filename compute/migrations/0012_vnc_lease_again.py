"""A VNC client may come again: its port is its own as long as the password is kept.

A trigger takes both away when the VM stops, moves or changes hands: statuses and hosts have many
writers, and none of them can forget it.
"""

from django.db import migrations, models
from django.db.models import Q

REVOKE = """
CREATE FUNCTION compute_vm_revoke_vnc() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE compute_vnclease SET
        password_box = '',
        state = CASE WHEN state = 'connected' THEN state ELSE 'closed' END,
        closed_at = CASE WHEN state = 'connected' THEN closed_at ELSE clock_timestamp() END,
        close_reason = CASE WHEN state = 'connected' THEN close_reason
            ELSE 'The VM stopped, moved or changed hands.' END
    WHERE vm_id = NEW.id AND password_box <> '';
    IF FOUND THEN
        PERFORM pg_notify('scloud_vnc_leases', json_build_object('vm', NEW.id)::text);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER compute_vm_revoke_vnc AFTER UPDATE OF status, host_id, tenant_id ON compute_vm
    FOR EACH ROW WHEN (
        (OLD.status = 'running' AND NEW.status <> 'running')
        OR OLD.host_id IS DISTINCT FROM NEW.host_id
        OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id
    )
    EXECUTE FUNCTION compute_vm_revoke_vnc();
"""
FORGET = """
DROP TRIGGER compute_vm_revoke_vnc ON compute_vm;
DROP FUNCTION compute_vm_revoke_vnc();
"""


class Migration(migrations.Migration):
    dependencies = [("compute", "0011_guest_network")]

    operations = [
        migrations.RemoveConstraint("vnclease", "vnc_lease_port_once"),
        migrations.AddConstraint(
            "vnclease",
            models.UniqueConstraint(
                fields=["port"], condition=~Q(password_box=""), name="vnc_lease_port_once"
            ),
        ),
        migrations.RunSQL(REVOKE, FORGET),
    ]
