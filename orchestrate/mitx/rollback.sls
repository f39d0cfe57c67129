# `salt-run mitx.rollback`: from wherever the window stands, in reverse, back to the recorded old fleet.
{% set said = pillar['mitx'].get('rollback', {}) %}
run:
  mitx_run.opened:
    - begin: False

{% if salt.mitx_rollback.needed() %}
rollback:
  mitx_rollback.allowed:
    - database_restored: {{ said.get('database_restored', False) }}
    - accept_new_schema: {{ said.get('accept_new_schema', False) }}
    - stop_only: {{ said.get('stop_only', False) }}
    - failhard: True
    - require:
      - mitx_run: run

visitors to the page:
  mitx_dns.pointed:
    - to: maintenance
    # First the page is made fresh: once the site was opened, another one may be due.
    - guarded: True
    - failhard: True
    - require:
      - mitx_rollback: rollback

new fleet is stopped:
  mitx_minions.stopped:
    - fleet: new
    - failhard: True
    - require:
      - mitx_dns: visitors to the page

{% if said.get('stop_only') %}
databases can be restored:
  mitx_rollback.halted:
    - require:
      - mitx_minions: new fleet is stopped
{% else %}
old fleet runs:
  mitx_minions.running:
    - fleet: old
    - failhard: True
    - require:
      - mitx_minions: new fleet is stopped

old fleet in, new fleet out:
  mitx_elb.swapped:
    - fleet: old
    - failhard: True
    - require:
      - mitx_minions: old fleet runs

site through its load balancers:
  mitx_check.passed:
    - check: backstage
    - failhard: True
    - require:
      - mitx_elb: old fleet in, new fleet out

visitors to the site:
  mitx_dns.pointed:
    - to: site
    - failhard: True
    - require:
      - mitx_check: site through its load balancers

window taken back:
  mitx_rollback.finished:
    - require:
      - mitx_dns: visitors to the site
{% endif %}
{% endif %}
