base:
  'P@roles:(edx|edx-worker)':
    - match: compound
    - edx.run_ansible
