# Stands in for MITx's states consul and consul.dns_proxy: no host of the sandbox has a Consul, only a service of that name.
{{ sls }}:
  test.nop: []
