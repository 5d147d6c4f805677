"""The pages' URLs."""

from django.urls import URLPattern, path

from network.views import security, vpcs

urlpatterns: list[URLPattern] = [
    path("network/vpcs/", vpcs.VpcListView.as_view(), name="vpc-list"),
    path("network/vpcs/create/", vpcs.CreateVpcView.as_view(), name="vpc-create"),
    path("network/vpcs/<str:pk>/", vpcs.VpcDetailView.as_view(), name="vpc-detail"),
    path("network/vpcs/<str:pk>/rename/", vpcs.RenameVpcView.as_view(), name="vpc-rename"),
    path("network/vpcs/<str:pk>/delete/", vpcs.DeleteVpcView.as_view(), name="vpc-delete"),
    path(
        "network/vpcs/<str:pk>/create-subnet/",
        vpcs.CreateSubnetView.as_view(),
        name="subnet-create",
    ),
    path("network/subnets/<str:pk>/", vpcs.SubnetDetailView.as_view(), name="subnet-detail"),
    path("network/subnets/<str:pk>/rename/", vpcs.RenameSubnetView.as_view(), name="subnet-rename"),
    path("network/subnets/<str:pk>/delete/", vpcs.DeleteSubnetView.as_view(), name="subnet-delete"),
    path(
        "network/security-groups/",
        security.SecurityGroupListView.as_view(),
        name="security-group-list",
    ),
    path(
        "network/security-groups/create/",
        security.CreateSecurityGroupView.as_view(),
        name="security-group-create",
    ),
    path(
        "network/security-groups/<str:pk>/",
        security.SecurityGroupDetailView.as_view(),
        name="security-group-detail",
    ),
    path(
        "network/security-groups/<str:pk>/rename/",
        security.RenameSecurityGroupView.as_view(),
        name="security-group-rename",
    ),
    path(
        "network/security-groups/<str:pk>/delete/",
        security.DeleteSecurityGroupView.as_view(),
        name="security-group-delete",
    ),
    path(
        "network/security-groups/<str:pk>/add-rule/",
        security.AddRuleView.as_view(),
        name="rule-add",
    ),
    path("network/rules/remove/", security.RemoveRulesView.as_view(), name="rules-remove"),
    path("network/rules/<str:pk>/edit/", security.EditRuleView.as_view(), name="rule-edit"),
    path("network/rules/<str:pk>/remove/", security.RemoveRuleView.as_view(), name="rule-remove"),
]
