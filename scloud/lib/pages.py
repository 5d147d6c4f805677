"""Pages of long lists."""

from __future__ import annotations

from typing import Any, Generic, Self, TypeVar

from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)


class PagedRows(QuerySet[Row], Generic[Row]):
    """Rows with columns that cost a look-up each: a page is cut out by key before they are read.

    PostgreSQL would make such columns for every row that an offset skips too. Ten rows cost ten
    look-ups, however many rows there are and however far back the page is.
    """

    @classmethod
    def of(cls, rows: QuerySet[Row]) -> Self:
        """Return the same rows as such a set."""
        return cls(model=rows.model, query=rows.query.chain(), using=rows.db)

    def __getitem__(self, key: Any) -> Any:
        """Return one row, or a slice, which is a set of rows again."""
        plain = (
            isinstance(key, slice)
            and key.step is None
            and self._result_cache is None
            and self._fields is None  # type: ignore[attr-defined]  # of Django, not in its stubs
            and not self.query.is_sliced
        )
        if not plain:
            return super().__getitem__(key)
        page = super().__getitem__(key)
        return self.filter(pk__in=page.select_related(None).values("pk"))
