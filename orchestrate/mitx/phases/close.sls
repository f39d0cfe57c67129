# Once `start` has begun the new fleet is to run: then the page is only put up again.
{% set quiet = 'start' not in salt.mitx_run.get_phases() %}
# pillar rehearsal:required and gate:before_window
window may begin:
  mitx_upgrade.allowed: []

announced window:
  mitx_site.in_window:
    - require:
      - mitx_upgrade: window may begin

# Found out now, it costs visitors nothing; at `stop` they would wait for whoever repairs it. pillar mitx:adopt, see docs/swap.md
fleets are the recorded ones:
  mitx_fleet.unchanged:
    - adopt: {{ pillar['mitx'].get('adopt', False) }}
    - require:
      - mitx_site: announced window

current fleet can be stopped:
  mitx_hosts.answering:
    - fleet: old
    - require:
      - mitx_fleet: fleets are the recorded ones

# pillar window:pause_schedule, backups say
schedule of the master:
  mitx_hosts.schedule_held:
    - require:
      - mitx_hosts: current fleet can be stopped

{% if quiet %}
# Where visitors are on it, after a rollback that broke off say, they get the page before it is stopped.
new fleet is quiet:
  mitx_hosts.stopped:
    - fleet: new
    - serving: False
    - require:
      - mitx_hosts: schedule of the master
{% endif %}

page:
  mitx_site.page_published:
    - require:
      - {{ 'mitx_hosts: new fleet is quiet' if quiet else 'mitx_hosts: schedule of the master' }}

visitors to the page:
  mitx_site.dns_pointed:
    - to: maintenance
    - require:
      - mitx_site: page

{% if quiet %}
new fleet is stopped:
  mitx_hosts.stopped:
    - fleet: new
    - serving: True
    - require:
      - mitx_site: visitors to the page
{% endif %}
