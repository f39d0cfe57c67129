orchestrate.edx.update_edxapp_ami_sdb:
  mitx_existing.ran:
    - check: mitx_existing.record_missing
