"""URLs of monitoring's pages; those of the verbs come from the catalogue."""

from django.urls import URLPattern, path

from alarms.views import alarms, bell, charts, notices, recent, templates
from scloud.web import verbs

urlpatterns: list[URLPattern] = [
    path("vms/<str:vm_id>/charts/", charts.VmCharts.as_view(), name="vm-charts"),
    path("vms/<str:vm_id>/charts.csv", charts.VmChartsFile.as_view(), name="vm-charts-csv"),
    path("monitoring/recent/", recent.RecentUsage.as_view(), name="recent-usage"),
    path("monitoring/busiest/", recent.BusiestVms.as_view(), name="busiest-vms"),
    path("alarms/", alarms.AlarmList.as_view(), name="alarm-list"),
    *verbs.url_patterns("alarm"),
    path("notifications/", bell.Bell.as_view(), name="bell"),
    path("notifications/read/", bell.BellRead.as_view(), name="bell-read"),
    path("alarm-templates/", templates.TemplateList.as_view(), name="alarm-template-list"),
    path(
        "alarm-templates/create/",
        templates.TemplateCreate.as_view(),
        name="alarm-template-create",
    ),
    *verbs.url_patterns("alarm_template"),
    path(
        "alarm-templates/<str:pk>/",
        templates.TemplateDetail.as_view(),
        name="alarm-template-detail",
    ),
    path(
        "alarm-templates/<str:pk>/preview/",
        templates.RulePreview.as_view(),
        name="alarm-template-preview",
    ),
    *verbs.url_patterns("alarm_rule"),
    path("contacts/", notices.ContactList.as_view(), name="contact-list"),
    path("contacts/create/", notices.ContactCreate.as_view(), name="contact-create"),
    *verbs.url_patterns("contact"),
    path("notification-groups/", notices.GroupList.as_view(), name="notification-group-list"),
    path(
        "notification-groups/create/",
        notices.GroupCreate.as_view(),
        name="notification-group-create",
    ),
    *verbs.url_patterns("notification_group"),
    path(
        "notification-groups/<str:pk>/",
        notices.GroupDetail.as_view(),
        name="notification-group-detail",
    ),
    *verbs.url_patterns("webhook"),
    path("silences/", notices.SilenceList.as_view(), name="silence-list"),
    path("silences/create/", notices.SilenceCreate.as_view(), name="silence-create"),
    *verbs.url_patterns("silence"),
    path("deliveries/", notices.DeliveryList.as_view(), name="delivery-list"),
]
