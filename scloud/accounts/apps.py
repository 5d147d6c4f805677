"""Accounts of people."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "scloud.accounts"
    label = "accounts"
