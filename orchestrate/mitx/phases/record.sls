orchestrate.edx.update_edxapp_ami_sdb:
  mitx_upgrade.saltops_ran: []
