"""Keeps changes of prices and discounts apart from what is being charged.

A list or discount is in effect from an instant on, but others see it only once its transaction has
committed. What is charged in between would be priced by the list of before although the new one
was in effect. So charging holds this lock together with others that charge, and a change of prices
takes it alone, before it reads the clock. It is held until the transaction ends, and it is taken
before the lock of the account.
"""

from typing import Final

from django.db import connection

from scloud.lib.locks import advisory_key

_KEY: Final = advisory_key("billing.prices")


def for_charging() -> None:
    """Let no price change until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [_KEY])


def for_change() -> None:
    """Wait until nobody is charging, and let nobody begin until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_KEY])
