# `salt-run mitx.announce`; pillar mitx:announce_until in the middle of a window that takes longer, beside the run that takes it.
{% set until = pillar['mitx'].get('announce_until') %}
announce:
  mitx_upgrade.started:
    - lock: {{ until is none }}

maintenance page:
  mitx_site.page_published:
    - until: {{ until | json }}
    - failhard: True
    - require:
      - mitx_upgrade: announce

3down request:
  mitx_site.announced:
    - until: {{ until | json }}
    - failhard: True
    - require:
      - mitx_site: maintenance page

{% if until is none %}
# A lower TTL helps only after the old one is over, so days ahead.
TTL of the public names:
  mitx_site.ttl_lowered:
    - require:
      - mitx_upgrade: announce
{% endif %}
