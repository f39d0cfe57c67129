# `salt-run mitx.create_release`: mitx/<codename> from edX's first .master, once for each release.
environment:
  mitx_upgrade.locked:
    - name: salt-run mitx.create_release

release branch:
  mitx_release.created:
    - failhard: True
    - require:
      - mitx_upgrade: environment
