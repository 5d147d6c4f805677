"""Errors as pages."""

from django.http import HttpRequest, HttpResponse


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a POST without a valid CSRF token."""
    return HttpResponse("The form has expired. Reload the page and try again.", status=403)
