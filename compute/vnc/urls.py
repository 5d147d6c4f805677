"""URLs of the screen page."""

from django.urls import URLPattern, path, re_path

from compute.vnc import views

urlpatterns: list[URLPattern] = [
    path("vms/<str:vm_id>/screen", views.ScreenPage.as_view(), name="vm-screen"),
    path("vms/<str:vm_id>/screen/ticket", views.ScreenTicket.as_view(), name="vm-screen-ticket"),
    re_path(
        r"^vms/(?P<vm_id>[a-z0-9-]+)/screen/(?P<part>status|power)\Z",
        views.ScreenPart.as_view(),
        name="vm-screen-part",
    ),
]
