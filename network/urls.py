"""The pages' URLs; those of the verbs come from the catalogue."""

from django.urls import URLPattern, path

from network.views import enis, external_ips, reach, security, topology, vpcs
from scloud.web import verbs

urlpatterns: list[URLPattern] = [
    path("external-ips/", external_ips.ExternalIpList.as_view(), name="external-ip-list"),
    path(
        "external-ips/create/", external_ips.ExternalIpCreate.as_view(), name="external-ip-create"
    ),
    *verbs.url_patterns("external_ip"),
    path(
        "external-ips/<str:pk>/", external_ips.ExternalIpDetail.as_view(), name="external-ip-detail"
    ),
    path("enis/", enis.EniList.as_view(), name="eni-list"),
    path("enis/create/", enis.EniCreate.as_view(), name="eni-create"),
    *verbs.url_patterns("eni"),
    path("enis/<str:pk>/", enis.EniDetail.as_view(), name="eni-detail"),
    path("network/vpcs/", vpcs.VpcList.as_view(), name="vpc-list"),
    path("network/vpcs/create/", vpcs.VpcCreate.as_view(), name="vpc-create"),
    path("network/vpcs/<str:pk>/", vpcs.VpcDetail.as_view(), name="vpc-detail"),
    *verbs.url_patterns("vpc"),
    path("network/subnets/<str:pk>/", vpcs.SubnetDetail.as_view(), name="subnet-detail"),
    *verbs.url_patterns("subnet"),
    path("network/topology/", topology.TopologyPage.as_view(), name="network-topology"),
    path("network/reach/", reach.ReachPage.as_view(), name="network-reach"),
    path(
        "network/security-groups/",
        security.SecurityGroupList.as_view(),
        name="security-group-list",
    ),
    path(
        "network/security-groups/create/",
        security.SecurityGroupCreate.as_view(),
        name="security-group-create",
    ),
    path(
        "network/security-groups/<str:pk>/",
        security.SecurityGroupDetail.as_view(),
        name="security-group-detail",
    ),
    path(
        "network/security-groups/<str:pk>/rules.csv",
        security.RulesCsv.as_view(),
        name="security-group-rules-csv",
    ),
    *verbs.url_patterns("security_group"),
    *verbs.url_patterns("security_group_rule"),
]
