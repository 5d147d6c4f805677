"""The console shell's URLs."""

from django.urls import URLPattern, URLResolver, path

from scloud.web import (
    activity,
    auth,
    invitations,
    joining,
    pages,
    profile,
    recovering,
    roles,
    saved_views,
    search,
    second_factor,
    users,
)

urlpatterns: list[URLPattern | URLResolver] = [
    path("", pages.HomeView.as_view(), name="home"),
    path("login/", auth.LoginView.as_view(), name="login"),
    path("login/code/", auth.LoginCodeView.as_view(), name="login-code"),
    path("join/", joining.JoinView.as_view(), name="join"),
    path("password/forgot/", recovering.ForgotView.as_view(), name="password-forgot"),
    path("password/reset/", recovering.ResetView.as_view(), name="password-reset"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("region/", auth.SetRegionView.as_view(), name="set-region"),
    path("appearance/", profile.AppearanceView.as_view(), name="set-appearance"),
    path("search/", search.SearchView.as_view(), name="search"),
    path("tasks/", activity.TasksView.as_view(), name="tasks"),
    path("tasks/strip/", activity.TaskStripView.as_view(), name="task-strip"),
    path("tasks/<str:job_id>/", activity.TaskDetailView.as_view(), name="task-detail"),
    path("operations/", activity.OperationsView.as_view(), name="operations"),
    path("operations/<int:pk>/", activity.OperationDetailView.as_view(), name="operation-detail"),
    path("profile/", profile.ProfileView.as_view(), name="profile"),
    path("profile/address/", profile.AddressView.as_view(), name="change-email"),
    path("profile/address/verify/", profile.VerifyAddressView.as_view(), name="email-verify"),
    path("profile/password/", profile.PasswordView.as_view(), name="change-password"),
    path(
        "profile/sessions/<str:handle>/end/",
        profile.RevokeSessionView.as_view(),
        name="session-revoke",
    ),
    path("second-factor/", second_factor.SecondFactorView.as_view(), name="second-factor"),
    path("second-factor/set-up/", second_factor.BeginView.as_view(), name="second-factor-begin"),
    path(
        "second-factor/confirm/", second_factor.ConfirmView.as_view(), name="second-factor-confirm"
    ),
    path("second-factor/codes/", second_factor.CodesView.as_view(), name="second-factor-codes"),
    path("second-factor/off/", second_factor.TurnOffView.as_view(), name="second-factor-off"),
    path("views/<str:kind>/save/", saved_views.SaveListView.as_view(), name="list-view-save"),
    path("views/<str:kind>/delete/", saved_views.DeleteListView.as_view(), name="list-view-delete"),
    path("api-keys/", profile.ApiKeysView.as_view(), name="api-keys"),
    path("api-keys/create/", profile.ApiKeyCreateView.as_view(), name="api-key-create"),
    path(
        "api-keys/<str:key_id>/networks/",
        profile.ApiKeyNetworksView.as_view(),
        name="api-key-networks",
    ),
    path(
        "api-keys/<str:key_id>/revoke/", profile.ApiKeyRevokeView.as_view(), name="api-key-revoke"
    ),
    path("users/", users.UsersView.as_view(), name="users"),
    path(
        "users/second-factor/",
        users.SecurityView.as_view(),
        name="users-second-factor",
    ),
    path("users/roles/", roles.RolesView.as_view(), name="roles"),
    path("users/roles/create/", roles.RoleCreateView.as_view(), name="role-create"),
    path("users/roles/<str:role_id>/edit/", roles.RoleEditView.as_view(), name="role-edit"),
    path("users/roles/<str:role_id>/delete/", roles.RoleDeleteView.as_view(), name="role-delete"),
    path("users/invite/", invitations.InviteView.as_view(), name="user-invite"),
    path("users/invitations/", invitations.InvitationsView.as_view(), name="invitations"),
    path(
        "users/invitations/<str:invitation_id>/send/",
        invitations.SendAgainView.as_view(),
        name="invitation-send",
    ),
    path(
        "users/invitations/<str:invitation_id>/withdraw/",
        invitations.WithdrawView.as_view(),
        name="invitation-withdraw",
    ),
    path("users/<int:user_id>/role/", users.ChangeRoleView.as_view(), name="user-change-role"),
    path(
        "users/<int:user_id>/deactivate/",
        users.DeactivateUserView.as_view(),
        name="user-deactivate",
    ),
    path("users/<int:user_id>/activate/", users.ActivateUserView.as_view(), name="user-activate"),
    path("users/<int:user_id>/hand-over/", users.HandOverView.as_view(), name="user-hand-over"),
    path(
        "users/<int:user_id>/reset-second-factor/",
        users.ResetSecondFactorView.as_view(),
        name="user-reset-second-factor",
    ),
    path("styleguide/", pages.StyleguideView.as_view(), name="styleguide"),
    path("styleguide/dialog/", pages.ExampleDialogView.as_view(), name="styleguide-dialog"),
]
