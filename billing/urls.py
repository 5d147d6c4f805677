"""The console's billing pages."""

from django.urls import URLPattern, URLResolver, path

from billing import views
from billing.views.history import CostHistory
from scloud.web import verbs

urlpatterns: list[URLPattern | URLResolver] = [
    path("billing/", views.OverviewView.as_view(), name="billing"),
    path("billing/history/", CostHistory.as_view(), name="billing-history"),
    path("billing/recharge/", views.RechargeView.as_view(), name="billing-recharge"),
    path("billing/auto-renew/", views.DefaultAutoRenewView.as_view(), name="billing-default-renew"),
    path("billing/low-balance/", views.LowBalanceView.as_view(), name="billing-low-balance"),
    path("billing/renew/", views.RenewTogetherView.as_view(), name="billing-renew-together"),
    path(
        "billing/resources/<str:resource_id>/renew/",
        views.RenewView.as_view(),
        name="billing-renew",
    ),
    path(
        "billing/resources/<str:resource_id>/auto-renew/<str:wanted>/",
        views.AutoRenewView.as_view(),
        name="billing-auto-renew",
    ),
    path("budgets/", views.BudgetList.as_view(), name="budget-list"),
    path("budgets/create/", views.BudgetCreate.as_view(), name="budget-create"),
    *verbs.url_patterns("budget"),
    path("billing/orders/", views.OrdersView.as_view(), name="orders"),
    path("billing/orders/<str:order_id>/", views.OrderDetailView.as_view(), name="order-detail"),
    path(
        "billing/orders/<str:order_id>/charges/<int:number>/",
        views.ChargeView.as_view(),
        name="order-charge",
    ),
    path("billing/transactions/", views.TransactionsView.as_view(), name="transactions"),
    path("billing/prices/", views.PricesView.as_view(), name="prices"),
    path("billing/address/", views.AddressView.as_view(), name="billing-address"),
    path("billing/statements/", views.StatementsView.as_view(), name="statements"),
    path("billing/statements/<str:month>/", views.StatementView.as_view(), name="statement-detail"),
    path(
        "billing/statements/<str:month>/pdf/",
        views.StatementPdfView.as_view(),
        name="statement-pdf",
    ),
    path(
        "billing/statements/<str:month>/charges/",
        views.StatementChargesView.as_view(),
        name="statement-charges",
    ),
    path("billing/pay/", views.PayView.as_view(), name="billing-pay"),
    path("billing/payments/", views.PaymentsView.as_view(), name="payments"),
    path("billing/payments/<slug:payment_id>/", views.PaymentView.as_view(), name="payment-detail"),
    # For providers and their pages: nobody is signed in there.
    path(
        "payments/<slug:provider>/events/",
        views.PaymentEventView.as_view(),
        name="payment-events",
    ),
    path("payments/sandbox/<slug:token>/", views.SandboxView.as_view(), name="payment-sandbox"),
    path("quotas/", views.QuotasView.as_view(), name="quotas"),
    path("quotas/request/", views.QuotaRequestView.as_view(), name="quota-request"),
]
