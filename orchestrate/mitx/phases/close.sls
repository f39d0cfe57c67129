# Once `start` has begun the new fleet is to run: then the page is only put up again.
{% set quiet = 'start' not in salt.mitx_phase.record() %}
# Where visitors are on it, after a rollback that broke off say, they get the page before it is stopped.
{% set serves = salt.mitx_swap.serves('new') %}
announced window:
  mitx_window.inside: []

# Found out now, it costs visitors nothing; at `stop` they would wait for whoever repairs it. pillar mitx:adopt, see docs/swap.md
fleets are the recorded ones:
  mitx_fleet.unchanged:
    - adopt: {{ pillar['mitx'].get('adopt', False) }}
    - require:
      - mitx_window: announced window

current fleet can be stopped:
  mitx_hosts.answering:
    - fleet: old
    - require:
      - mitx_fleet: fleets are the recorded ones

{% if quiet and not serves %}
new fleet is quiet:
  mitx_minions.stopped:
    - fleet: new
    - require:
      - mitx_hosts: current fleet can be stopped
{% endif %}

page:
  mitx_page.published:
    - require:
      - {{ 'mitx_minions: new fleet is quiet' if quiet and not serves else 'mitx_hosts: current fleet can be stopped' }}

visitors to the page:
  mitx_dns.pointed:
    - to: maintenance
    - require:
      - mitx_page: page

{% if quiet and serves %}
new fleet is stopped:
  mitx_minions.stopped:
    - fleet: new
    - require:
      - mitx_dns: visitors to the page
{% endif %}
