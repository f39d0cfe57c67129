new fleet is quiet:
  mitx_minions.stopped:
    - fleet: new
