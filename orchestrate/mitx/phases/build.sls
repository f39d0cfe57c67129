orchestrate.edx.build_ami:
  mitx_existing.ran:
    - check: mitx_existing.build_missing
