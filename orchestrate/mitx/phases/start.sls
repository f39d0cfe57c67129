new fleet:
  mitx_hosts.running:
    - fleet: new

answers:
  mitx_site.checked:
    - check: smoke
    - require:
      - mitx_hosts: new fleet
