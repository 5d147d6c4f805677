"""URLs of monitoring's pages."""

from django.urls import URLPattern, path

from alarms.views import charts, recent

urlpatterns: list[URLPattern] = [
    path("vms/<str:vm_id>/charts/", charts.VmCharts.as_view(), name="vm-charts"),
    path("vms/<str:vm_id>/charts.csv", charts.VmChartsFile.as_view(), name="vm-charts-csv"),
    path("monitoring/recent/", recent.RecentUsage.as_view(), name="recent-usage"),
    path("monitoring/busiest/", recent.BusiestVms.as_view(), name="busiest-vms"),
]
