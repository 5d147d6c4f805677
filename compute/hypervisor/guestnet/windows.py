"""Windows: PowerShell, whose cmdlets keep what they set over a restart.

https://learn.microsoft.com/en-us/powershell/module/nettcpip/

Windows has one routing table and a strong host model: what leaves an address leaves by the routes
of its own NIC. So each NIC gets a default route through each of its gateways, the chosen egress
with the lowest metric, and addresses other than the egress are never taken as source by
themselves. Several segments on one NIC answer by the gateway of the lowest metric.
"""

from __future__ import annotations

from collections.abc import Sequence

from network.rules.guest import NicPlan, routes_of

STAMP = r"$env:ProgramData\scloud-network"
#: Metrics of default routes: of the egress, and of the replies of other addresses.
_EGRESS, _OTHER = 5, 500

#: Link-local addresses that follow from the MAC: anti-spoofing lets no others speak to neighbours.
_LINK_LOCAL = "  Set-NetIPv6Protocol -RandomizeIdentifiers Disabled\n"

_FUNCTIONS = r"""
$ErrorActionPreference = 'Stop'
$script:missing = $false
function Set-Nic($mac, $name, $mtu, $addresses, $routes, $dns, $first) {
  $nic = Get-NetAdapter | Where-Object { $_.MacAddress -eq $mac } | Select-Object -First 1
  if (-not $nic) { $script:missing = $true; return }
  $index = $nic.ifIndex
  if ($nic.Status -eq 'Disabled') { Enable-NetAdapter -InputObject $nic -Confirm:$false }
  netsh interface ipv4 set subinterface $index mtu=$mtu store=persistent | Out-Null
  netsh interface ipv6 set subinterface $index mtu=$mtu store=persistent | Out-Null
  Set-NetIPInterface -InterfaceIndex $index -AddressFamily IPv6 -RouterDiscovery Disabled
  if ($addresses.Count -gt 0) {
    Set-NetIPInterface -InterfaceIndex $index -AddressFamily IPv4 -Dhcp Disabled
  }
  if (@($addresses | Where-Object { $_.Ip -match ':' }).Count -gt 0) {
    Set-NetIPInterface -InterfaceIndex $index -AddressFamily IPv6 -Dhcp Disabled
  }
  foreach ($one in $addresses) {
    $have = Get-NetIPAddress -InterfaceIndex $index -IPAddress $one.Ip -ErrorAction SilentlyContinue
    if ($have) {
      Set-NetIPAddress -InterfaceIndex $index -IPAddress $one.Ip -PrefixLength $one.Length `
        -SkipAsSource $one.Skip
    } else {
      New-NetIPAddress -InterfaceIndex $index -IPAddress $one.Ip -PrefixLength $one.Length `
        -SkipAsSource $one.Skip | Out-Null
    }
  }
  $wanted = @($addresses | ForEach-Object { $_.Ip })
  if (-not $first) {
    Get-NetIPAddress -InterfaceIndex $index | Where-Object {
      $_.PrefixOrigin -eq 'Manual' -and $wanted -notcontains $_.IPAddress
    } | Remove-NetIPAddress -Confirm:$false
  }
  foreach ($one in $routes) {
    $have = Get-NetRoute -InterfaceIndex $index -DestinationPrefix $one.To -NextHop $one.Via `
      -ErrorAction SilentlyContinue
    if ($have) {
      Set-NetRoute -InterfaceIndex $index -DestinationPrefix $one.To -NextHop $one.Via `
        -RouteMetric $one.Metric
    } else {
      New-NetRoute -InterfaceIndex $index -DestinationPrefix $one.To -NextHop $one.Via `
        -RouteMetric $one.Metric | Out-Null
    }
  }
  $keep = @($routes | ForEach-Object { $_.To + ' ' + $_.Via })
  Get-NetRoute -InterfaceIndex $index -Protocol NetMgmt -ErrorAction SilentlyContinue |
    Where-Object {
      $_.NextHop -notin @('0.0.0.0', '::') -and
        $keep -notcontains ($_.DestinationPrefix + ' ' + $_.NextHop)
    } | Remove-NetRoute -Confirm:$false
  if ($dns.Count -gt 0) {
    Set-DnsClientServerAddress -InterfaceIndex $index -ServerAddresses $dns
  }
}
"""


def script(plans: Sequence[NicPlan], digest: str) -> str:
    """Return the PowerShell text that brings the running system and its settings to the plan."""
    return (
        f"$have = Get-Content -Path {STAMP} -ErrorAction SilentlyContinue\n"
        f"if ($have -eq '{digest}') {{ exit 0 }}\n"
        + _FUNCTIONS.lstrip()
        + "try {\n"
        + (_LINK_LOCAL if any(_has_ipv6(nic) for nic in plans) else "")
        + "".join(_call(nic) for nic in plans)
        + f"  if ($script:missing) {{ exit 3 }}\n  Set-Content -Path {STAMP} -Value '{digest}'\n"
        + "} catch { [Console]::Error.WriteLine($_); exit 1 }\n"
    )


def _call(nic: NicPlan) -> str:
    egress = {one.interface.version for one in nic.addresses if one.default_route}
    addresses = ", ".join(
        f"@{{Ip='{one.interface.ip}'; Length={one.interface.network.prefixlen}; "
        f"Skip=${_skip(one.default_route, one.interface.version in egress)}}}"
        for one in nic.addresses
    )
    metrics: dict[tuple[str, str], int] = {}
    for route in routes_of(nic):
        if route.via is None:
            continue
        default = route.to.prefixlen == 0
        metric = _EGRESS if route.table is None or not default else _OTHER
        key = (str(route.to), str(route.via))
        metrics[key] = min(metric, metrics.get(key, metric))
    routes = ", ".join(
        f"@{{To='{to}'; Via='{via}'; Metric={metric}}}" for (to, via), metric in metrics.items()
    )
    dns = ", ".join(f"'{one}'" for one in nic.dns)
    mac = nic.mac.upper().replace(":", "-")
    first = "$true" if nic.index == 0 else "$false"
    return (
        f"  Set-Nic '{mac}' '{nic.device}' {nic.mtu_bytes} @({addresses}) @({routes})"
        f" @({dns}) {first}\n"
    )


def _has_ipv6(nic: NicPlan) -> bool:
    return any(one.interface.version == 6 for one in nic.addresses)


def _skip(is_egress: bool, nic_has_egress: bool) -> str:
    """Whether Windows shall not take the address as source by itself."""
    return "true" if nic_has_egress and not is_egress else "false"
