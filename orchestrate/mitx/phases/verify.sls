site through its load balancers:
  mitx_site.checked:
    - check: backstage

a human has looked:
  mitx_upgrade.approved:
    - gate: verify
    - require:
      - mitx_site: site through its load balancers
