"""The product's settings with one more app, whose only job does nothing."""

from scloud.settings import *  # noqa: F403 (settings are names, and all of them are meant)
from scloud.settings import INSTALLED_APPS as PRODUCT_APPS

INSTALLED_APPS = [*PRODUCT_APPS, "tests.bench.tick"]
