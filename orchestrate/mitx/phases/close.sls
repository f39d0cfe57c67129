announced window:
  mitx_window.inside: []

new fleet is quiet:
  mitx_minions.stopped:
    - fleet: new
    - require:
      - mitx_window: announced window

page:
  mitx_page.published:
    - require:
      - mitx_minions: new fleet is quiet

visitors to the page:
  mitx_dns.pointed:
    - to: maintenance
    - require:
      - mitx_page: page
