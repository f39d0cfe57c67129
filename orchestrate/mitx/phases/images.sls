# The existing build waits for neither the images nor Ansible: a playbook that failed looks like success there.
base instances are configured:
  mitx_hosts.bases_configured: []

images:
  mitx_fleet.images_available:
    - require:
      - mitx_hosts: base instances are configured
