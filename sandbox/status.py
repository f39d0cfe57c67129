"""``python -m sandbox status``: what runs, who serves, how far the upgrade is."""

from sandbox import assembly, points, processes, report, world


def show(config):
    """Print it; returns 0 when the sandbox stands, 3 when not."""
    print(f"{config['size']} sandbox of {config['environment']} in {config['directory']}")
    for name in assembly.DAEMONS:
        entry = processes.read(config["directory"], name)
        alive = processes.alive(config["directory"], name)
        print(f"  {name:<12} {'pid ' + str(entry['pid']) if alive else 'does not run'}")
    if not processes.alive(config["directory"], "aws") or world.read(config) is None:
        print("It does not stand: python -m sandbox up")
        return 3
    _hosts(config)
    _load_balancers(config)
    done = points.finished(config)
    print(f"phases done: {', '.join(done) or 'none'}")
    print(
        f"window: {config['window']['start']} {config['window']['timezone']},"
        f" {config['window']['hours']} hours"
    )
    print(f"the run's record: {report.run_journal(config)['folder'] or 'no run yet'}")
    return 0 if assembly.stands(config) else 3


def _hosts(config):
    for host in sorted(
        assembly.hosts(config), key=lambda host: (host["purpose"] or "", host["name"])
    ):
        if host["state"] != "gone":
            print(
                f"  {host['state']:<9} {host['name']:<55} {host['id']}"
                f" {host['address']}:{host['port']}"
            )


def _load_balancers(config):
    client = world.World(config).client("elb")
    names = {found: name for name, found in assembly.running_instances(config).items()}
    for elb in client.describe_load_balancers()["LoadBalancerDescriptions"]:
        states = client.describe_instance_health(LoadBalancerName=elb["LoadBalancerName"])[
            "InstanceStates"
        ]
        told = [
            f"{names.get(one['InstanceId'], one['InstanceId'])} {one['State']}" for one in states
        ]
        print(f"  ELB {elb['LoadBalancerName']:<34} {', '.join(told) or 'no instances'}")
