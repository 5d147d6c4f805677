"""The same things as the API's tests have, seen in the console."""

from tests.api_storage.conftest import Things, rival, things

__all__ = ["Things", "rival", "things"]
