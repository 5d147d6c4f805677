"""The verbs that people invoke on the network, and what compute calls in its own transactions."""

from network.actions.defaults import Defaults, ensure_tenant_defaults
from network.actions.nics import (
    NicRequest,
    assign_security_group,
    change_security_group,
    create_nics,
    release_nics,
)
from network.actions.rule_sets import (
    RulesChanged,
    add_template,
    copy_security_group,
    import_rules,
)
from network.actions.security import (
    add_rule,
    create_security_group,
    delete_security_group,
    edit_rule,
    remove_rule,
    rename_security_group,
)
from network.actions.vpcs import (
    configure_subnet,
    create_subnet,
    create_vpc,
    delete_subnet,
    delete_vpc,
    rename_subnet,
    rename_vpc,
    turn_off_ipv6,
    turn_on_ipv6,
)
from network.rules.rule_values import RuleInput

__all__ = [
    "Defaults",
    "NicRequest",
    "RuleInput",
    "RulesChanged",
    "add_rule",
    "add_template",
    "assign_security_group",
    "change_security_group",
    "configure_subnet",
    "copy_security_group",
    "create_nics",
    "create_security_group",
    "create_subnet",
    "create_vpc",
    "delete_security_group",
    "delete_subnet",
    "delete_vpc",
    "edit_rule",
    "ensure_tenant_defaults",
    "import_rules",
    "release_nics",
    "remove_rule",
    "rename_security_group",
    "rename_subnet",
    "rename_vpc",
    "turn_off_ipv6",
    "turn_on_ipv6",
]
