3down request:
  mitx_window.requested: []

maintenance page:
  mitx_page.published: []

# A lower TTL helps only after the old one is over, so days ahead.
TTL of the public names:
  mitx_dns.ttl_lowered: []
