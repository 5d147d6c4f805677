"""Asking people who are signed in once more who they are, before what cannot be taken back."""

from django.utils.translation import gettext as _

from scloud.lib.errors import Forbidden


class ConfirmationNeeded(Exception):
    """Somebody has to prove once more who they are, and then it goes on.

    It is a question, not a refusal: nothing has been written, the operation log has no entry, and
    who catches refusals lets it through. Pages ask (scloud/web/asking.py); to programs it is
    :meth:`refusal`.
    """

    def refusal(self) -> Forbidden:
        """Return what is answered where nobody can be asked."""
        return Forbidden(
            _("Confirm first that it is you."),
            code="confirmation_needed",
            remedy=_("Do it in the console, which asks for your password, or use an API key."),
        )
