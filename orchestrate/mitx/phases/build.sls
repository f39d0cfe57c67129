orchestrate.edx.build_ami:
  mitx_upgrade.saltops_ran: []
