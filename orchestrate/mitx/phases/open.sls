old fleet is still stopped:
  mitx_minions.stopped:
    - fleet: old

visitors to the site:
  mitx_dns.pointed:
    - to: site
    - require:
      - mitx_minions: old fleet is still stopped

site stays up:
  mitx_check.passed:
    - check: watch
    - require:
      - mitx_dns: visitors to the site

nobody has started the old fleet meanwhile:
  mitx_minions.still_stopped:
    - fleet: old
    - require:
      - mitx_check: site stays up
