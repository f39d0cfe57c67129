site through its load balancers:
  mitx_check.passed:
    - check: backstage

a human has looked:
  mitx_run.approved:
    - gate: verify
    - require:
      - mitx_check: site through its load balancers
