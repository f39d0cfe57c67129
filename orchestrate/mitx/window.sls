# The night, in this order. Visitors see the maintenance page from `close` until `open`; nothing before `close` is visible to them.
include:
  - orchestrate.mitx.run

# Page fresh; LMS, Studio and preview to CloudFront in one batch; visitors really see the page.
close:
  mitx_upgrade.phase_done:
    - failhard: True

# Every process of the current fleet, the queues drained first.
stop:
  mitx_upgrade.phase_done:
    - failhard: True

# Each purpose's databases, on one new instance of it.
migrate:
  mitx_upgrade.phase_done:
    - failhard: True

# Every process of the new fleet.
start:
  mitx_upgrade.phase_done:
    - failhard: True

# orchestrate.aws.mitx_elb, without its DNS change; all healthy.
attach:
  mitx_upgrade.phase_done:
    - failhard: True

# The current fleet out of the load balancers, drained.
detach:
  mitx_upgrade.phase_done:
    - failhard: True

# The site through its load balancers, while visitors still see the page; then a human says yes.
verify:
  mitx_upgrade.phase_done:
    - failhard: True

# DNS back; visitors really see the site.
open:
  mitx_upgrade.phase_done:
    - failhard: True
