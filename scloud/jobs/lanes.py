"""The lanes of jobs: what copies data must not keep what is quick from running."""

from django.db import models
from django.utils.translation import gettext_lazy


class Lane(models.TextChoices):
    """How long a job may keep a slot."""

    SHORT = "short", gettext_lazy("Short")
    LONG = "long", gettext_lazy("Long")
