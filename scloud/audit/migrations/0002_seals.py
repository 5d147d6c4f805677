"""Batches and seals of the operation log, and the triggers by which the log guards itself."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

GUARD = """
CREATE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or deleted', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

-- An entry gets its batch once, before the batch is sealed; it goes when its batch was pruned.
CREATE FUNCTION audit_guard_operation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.batch IS NULL THEN
            RETURN NEW;
        END IF;
    ELSIF TG_OP = 'UPDATE' THEN
        IF OLD.batch IS NULL AND NEW.batch IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM audit_seal WHERE number = NEW.batch) THEN
            OLD.batch := NEW.batch;
            IF OLD IS NOT DISTINCT FROM NEW THEN
                RETURN NEW;
            END IF;
        END IF;
    ELSE
        IF EXISTS (SELECT 1 FROM audit_pruning WHERE seal_id = OLD.batch) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'entries of the operation log are never changed or deleted'
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

-- A seal follows the last one and says of its batch what is so.
CREATE FUNCTION audit_check_seal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last audit_seal;
    entries bigint;
    youngest timestamptz;
BEGIN
    SELECT * INTO last FROM audit_seal ORDER BY number DESC LIMIT 1;
    SELECT count(*), max(at) INTO entries, youngest
      FROM audit_operation WHERE batch = NEW.number;
    IF NEW.number <> COALESCE(last.number, 0) + 1
       OR NEW.previous_hash <> COALESCE(last.hash, '')
       OR entries = 0 OR NEW.count <> entries OR NEW.last_at <> youngest THEN
        RAISE EXCEPTION 'seal % does not follow the last one or fit its batch', NEW.number
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION audit_check_pruning() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM audit_seal WHERE number = NEW.seal_id
                    AND last_at < now() - interval '6 months') THEN
        RAISE EXCEPTION 'batch % is kept for 6 months', NEW.seal_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER audit_operation_guarded
    BEFORE INSERT OR UPDATE OR DELETE ON audit_operation
    FOR EACH ROW EXECUTE FUNCTION audit_guard_operation();
CREATE TRIGGER audit_seal_checked BEFORE INSERT ON audit_seal
    FOR EACH ROW EXECUTE FUNCTION audit_check_seal();
CREATE TRIGGER audit_pruning_checked BEFORE INSERT ON audit_pruning
    FOR EACH ROW EXECUTE FUNCTION audit_check_pruning();
CREATE TRIGGER audit_seal_append_only BEFORE UPDATE OR DELETE ON audit_seal
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER audit_pruning_append_only BEFORE UPDATE OR DELETE ON audit_pruning
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER audit_operation_not_truncated BEFORE TRUNCATE ON audit_operation
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER audit_seal_not_truncated BEFORE TRUNCATE ON audit_seal
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER audit_pruning_not_truncated BEFORE TRUNCATE ON audit_pruning
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
"""

UNDO = """
DROP TRIGGER audit_pruning_not_truncated ON audit_pruning;
DROP TRIGGER audit_seal_not_truncated ON audit_seal;
DROP TRIGGER audit_operation_not_truncated ON audit_operation;
DROP TRIGGER audit_pruning_append_only ON audit_pruning;
DROP TRIGGER audit_seal_append_only ON audit_seal;
DROP TRIGGER audit_pruning_checked ON audit_pruning;
DROP TRIGGER audit_seal_checked ON audit_seal;
DROP TRIGGER audit_operation_guarded ON audit_operation;
DROP FUNCTION audit_check_pruning();
DROP FUNCTION audit_check_seal();
DROP FUNCTION audit_guard_operation();
DROP FUNCTION audit_refuse_change();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('audit', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='Seal',
            fields=[
                ('number', models.BigIntegerField(primary_key=True, serialize=False)),
                ('count', models.PositiveIntegerField()),
                ('last_at', models.DateTimeField()),
                ('form', models.PositiveSmallIntegerField()),
                ('previous_hash', models.CharField(blank=True, max_length=64)),
                ('hash', models.CharField(max_length=64)),
                ('sealed_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'ordering': ['number'],
            },
        ),
        migrations.AddField(
            model_name='operation',
            name='batch',
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name='operation',
            index=models.Index(fields=['batch'], name='operation_batch'),
        ),
        migrations.CreateModel(
            name='Pruning',
            fields=[
                ('seal', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='pruning', serialize=False, to='audit.seal')),
                ('pruned_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.RunSQL(GUARD, UNDO),
    ]
