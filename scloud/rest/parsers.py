"""Reading request bodies."""

import json
from collections.abc import Mapping
from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser as Base


class JSONParser(Base):
    """DRF's, without the two kinds of valid JSON that nothing sensible can be meant by."""

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the body. Raises ParseError, also for endless nesting and for half characters."""
        try:
            data = super().parse(stream, media_type, dict(parser_context or {}))
            # A lone surrogate has no UTF-8 form: no answer that repeats it could be sent.
            json.dumps(data, ensure_ascii=False).encode()
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None
        except UnicodeEncodeError:
            raise ParseError("The JSON has a text that is no valid Unicode.") from None
        return data
