3down request:
  mitx_site.announced: []

maintenance page:
  mitx_site.page_published: []

# A lower TTL helps only after the old one is over, so days ahead.
TTL of the public names:
  mitx_site.ttl_lowered: []
