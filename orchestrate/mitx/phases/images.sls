# The existing build waits for neither the images nor Ansible: a playbook that failed looks like success there.
base instances are configured:
  mitx_recap.clean: []

images:
  mitx_fleet.images_available:
    - require:
      - mitx_recap: base instances are configured
