$have = Get-Content -Path $env:ProgramData\scloud-network -ErrorAction SilentlyContinue
if ($have -eq 'digest') { exit 0 }
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
try {
  Set-Nic '52-54-00-00-00-01' 'eth0' 1442 @(@{Ip='10.0.0.5'; Length=24; Skip=$false}) @(@{To='10.0.0.0/16'; Via='10.0.0.1'; Metric=5}, @{To='0.0.0.0/0'; Via='10.0.0.1'; Metric=5}) @('10.0.0.2', '2001:db8:53::1') $true
  Set-Nic '52-54-00-00-00-02' 'eth1' 1500 @() @() @() $false
  if ($script:missing) { exit 3 }
  Set-Content -Path $env:ProgramData\scloud-network -Value 'digest'
} catch { [Console]::Error.WriteLine($_); exit 1 }
