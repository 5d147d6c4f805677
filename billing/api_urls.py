"""The API's URLs of billing."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from billing import api
from scloud.rest.verbs import routed

router = SimpleRouter(trailing_slash=False)
router.register("billing/orders", api.OrderViewSet, basename="api-order")
router.register("billing/transactions", api.TransactionViewSet, basename="api-transaction")
router.register("billing/statements", api.StatementViewSet, basename="api-statement")
router.register("billing/payments", api.PaymentViewSet, basename="api-payment")
router.register("billing/subscriptions", api.SubscriptionViewSet, basename="api-subscription")
router.register("billing/budgets", routed(api.BudgetViewSet), basename="api-budget")
router.register("quota-requests", api.QuotaRequestViewSet, basename="api-quota-request")

urlpatterns: list[URLPattern | URLResolver] = [
    path("billing/account", api.AccountView.as_view(), name="api-account"),
    path(
        "billing/account/set-auto-renew",
        api.AccountAutoRenewView.as_view(),
        name="api-account-set-auto-renew",
    ),
    path(
        "billing/account/set-low-balance",
        api.AccountLowBalanceView.as_view(),
        name="api-account-set-low-balance",
    ),
    path("billing/address", api.AddressView.as_view(), name="api-billing-address"),
    path("billing/account/recharge", api.RechargeView.as_view(), name="api-recharge"),
    path("billing/prices", api.PricesView.as_view(), name="api-prices"),
    path("quotas", api.QuotasView.as_view(), name="api-quotas"),
    *router.urls,
]
