{% set said = pillar['mitx']['rollback'] %}
# Where the old fleet serves already, a rollback that was interrupted at its end say, visitors need not see the page once more.
{% set serves = said['old_serves'] and not said['stop_only'] %}
{% if not serves %}
visitors to the page:
  mitx_dns.pointed:
    - to: maintenance
    # First the page is made fresh: once the site was opened, another one may be due.
    - guarded: True
    - failhard: True
{% endif %}

new fleet is stopped:
  mitx_minions.stopped:
    - fleet: new
    - failhard: True
    {% if not serves %}
    - require:
      - mitx_dns: visitors to the page
    {% endif %}

# A command that was killed leaves its migration running.
no migration is at work:
  mitx_minions.not_migrating:
    - failhard: True
    - require:
      - mitx_minions: new fleet is stopped

{% if said['stop_only'] %}
# An earlier attempt may have started it.
old fleet is stopped:
  mitx_minions.stopped:
    - fleet: old
    - failhard: True
    - require:
      - mitx_minions: no migration is at work
{% else %}
old fleet runs:
  mitx_minions.running:
    - fleet: old
    - failhard: True
    - require:
      - mitx_minions: no migration is at work

old fleet in, new fleet out:
  mitx_elb.swapped:
    - fleet: old
    - failhard: True
    - require:
      - mitx_minions: old fleet runs

{% if not serves %}
site through its load balancers:
  mitx_check.passed:
    - check: backstage
    - failhard: True
    - require:
      - mitx_elb: old fleet in, new fleet out
{% endif %}

visitors to the site:
  mitx_dns.pointed:
    - to: site
    - failhard: True
    - require:
      - mitx_elb: old fleet in, new fleet out
      {% if not serves %}
      - mitx_check: site through its load balancers
      {% endif %}
{% endif %}
