{% set said = pillar['mitx']['rollback'] %}
# Where the old fleet serves already, a rollback that was interrupted at its end say, visitors need not see the page once more.
{% set serves = said['old_serves'] and not said['stop_only'] and not said['restore'] %}
{% if not serves %}
visitors to the page:
  mitx_site.dns_pointed:
    - to: maintenance
    # First the page is made fresh: once the site was opened, another one may be due.
    - guarded: True
    - failhard: True
{% endif %}

new fleet is stopped:
  mitx_hosts.stopped:
    - fleet: new
    - failhard: True
    {% if not serves %}
    - require:
      - mitx_site: visitors to the page
    {% endif %}

# A command that was killed leaves its migration running.
no migration is at work:
  mitx_hosts.not_migrating:
    - failhard: True
    - require:
      - mitx_hosts: new fleet is stopped

{% if said['stop_only'] or said['restore'] %}
# An earlier attempt may have started it.
old fleet is stopped:
  mitx_hosts.stopped:
    - fleet: old
    - failhard: True
    - require:
      - mitx_hosts: no migration is at work
{% endif %}

{% if said['restore'] and not said['stop_only'] %}
# pillar window:pause_schedule: a backup that begins now would be of half a database.
backups wait:
  mitx_hosts.schedule_held:
    - failhard: True
    - require:
      - mitx_hosts: old fleet is stopped

# pillar rollback:restore, MITx's orchestrate.edx.restore
databases:
  mitx_hosts.databases_restored:
    - failhard: True
    - require:
      - mitx_hosts: backups wait
{% endif %}

{% if not said['stop_only'] %}
old fleet runs:
  mitx_hosts.running:
    - fleet: old
    - failhard: True
    - require:
      {% if said['restore'] %}
      - mitx_hosts: databases
      {% else %}
      - mitx_hosts: no migration is at work
      {% endif %}

old fleet in, new fleet out:
  mitx_fleet.swapped:
    - fleet: old
    - failhard: True
    - require:
      - mitx_hosts: old fleet runs

{% if not serves %}
site through its load balancers:
  mitx_site.checked:
    - check: backstage
    - failhard: True
    - require:
      - mitx_fleet: old fleet in, new fleet out
{% endif %}

visitors to the site:
  mitx_site.dns_pointed:
    - to: site
    - failhard: True
    - require:
      - mitx_fleet: old fleet in, new fleet out
      {% if not serves %}
      - mitx_site: site through its load balancers
      {% endif %}

schedule of the master:
  mitx_hosts.schedule_given_back:
    - failhard: True
    - require:
      - mitx_site: visitors to the site
{% endif %}
