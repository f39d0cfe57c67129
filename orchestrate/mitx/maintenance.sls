# `salt-run mitx.maintenance on` and `off`, by themselves. pillar mitx:maintenance_to: maintenance | site
{% set to = pillar['mitx']['maintenance_to'] %}
environment:
  mitx_upgrade.locked:
    - name: salt-run mitx.maintenance
    - force: {{ pillar['mitx'].get('maintenance_force', False) }}

visitors to the {{ to }}:
  mitx_site.dns_pointed:
    - to: {{ to }}
    # First the page is made fresh, or somebody healthy is found behind each load balancer.
    - guarded: True
    - failhard: True
    - require:
      - mitx_upgrade: environment
