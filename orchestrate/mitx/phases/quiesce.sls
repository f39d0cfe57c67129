new fleet is quiet:
  mitx_hosts.stopped:
    - fleet: new
