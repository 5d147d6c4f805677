"""Pages of 1 to 100 rows."""

from typing import Any

from rest_framework.pagination import PageNumberPagination as Base


class PageNumberPagination(Base):
    """``?page=2&page_size=50``."""

    page_size = 20
    page_size_query_param = "page_size"
    max_page_size = 100

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """Return DRF's, with the ranges (:mod:`scloud.rest.queries` holds callers to them)."""
        ranges = {
            self.page_query_param: {"minimum": 1, "maximum": 2**31 - 1, "default": 1},
            self.page_size_query_param: {
                "minimum": 1,
                "maximum": self.max_page_size,
                "default": self.page_size,
            },
        }
        found: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in found:
            parameter["schema"] = {**parameter["schema"], **ranges[parameter["name"]]}
        return found
