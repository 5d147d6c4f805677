"""After a restore: what the database forgot must not be destroyed by the platform itself."""
