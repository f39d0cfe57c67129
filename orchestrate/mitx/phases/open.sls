old fleet is still stopped:
  mitx_hosts.stopped:
    - fleet: old

visitors to the site:
  mitx_site.dns_pointed:
    - to: site
    - require:
      - mitx_hosts: old fleet is still stopped

site stays up:
  mitx_site.checked:
    - check: watch
    - require:
      - mitx_site: visitors to the site

schedule of the master:
  mitx_hosts.schedule_given_back:
    - require:
      - mitx_site: site stays up

nobody has started the old fleet meanwhile:
  mitx_hosts.still_stopped:
    - fleet: old
    - require:
      - mitx_hosts: schedule of the master
