"""Pages of 1 to 100 rows."""

from rest_framework.pagination import PageNumberPagination as Base


class PageNumberPagination(Base):
    """``?page=2&page_size=50``."""

    page_size = 20
    page_size_query_param = "page_size"
    max_page_size = 100
