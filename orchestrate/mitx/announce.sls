# `salt-run mitx.announce`; pillar mitx:announce_until in the middle of a window that takes longer, beside the run that takes it.
{% set until = pillar['mitx'].get('announce_until') %}
announce:
  mitx_run.opened:
    - lock: {{ until is none }}

maintenance page:
  mitx_page.published:
    - until: {{ until | json }}
    - failhard: True
    - require:
      - mitx_run: announce

3down request:
  mitx_window.requested:
    - until: {{ until | json }}
    - failhard: True
    - require:
      - mitx_page: maintenance page

{% if until is none %}
# A lower TTL helps only after the old one is over, so days ahead.
TTL of the public names:
  mitx_dns.ttl_lowered:
    - require:
      - mitx_run: announce
{% endif %}
