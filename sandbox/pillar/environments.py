"""
``environments``: what MITx's ``environment_settings.yml`` says, foreign purposes and their odd
shapes included.
"""

from sandbox import salt_ops

REPOSITORY = "https://github.com/mitodl/edx-platform"
QA_SIZES = {"live": (2, 1), "draft": (1, 1)}
PRODUCTION_SIZES = {"live": (18, 6), "draft": (3, 3)}


def settings_of(config, environment):
    """The settings of one environment as a dict."""
    return settings_map(config)[environment]


def settings(config):
    """``{environments: {name: …}}`` of both environments."""
    return {"environments": settings_map(config)}


def settings_map(config):
    """The environments by name; MITx's own where the sandbox has them."""
    if config.get("salt_ops"):
        return salt_ops.settings(config["salt_ops"])["environments"]
    origin = f"file://{config['paths']['git']}/origin.git"
    return {"mitx-qa": qa(origin), "mitx-production": production(origin)}


def qa(origin=REPOSITORY):
    """MITx QA: next-residential goes to Koa, current-residential stays on Juniper beside it."""
    purposes = {}
    for family, codename in (("current", "juniper"), ("next", "koa")):
        for kind, sizes in QA_SIZES.items():
            # The sandbox's current-residential stands there to be left alone: one host of each role
            # is enough.
            edx, workers = sizes if family == "next" else (1, 1)
            domains = qa_domains(family, kind)
            purposes[f"{family}-residential-{kind}"] = purpose(
                domains, codename, origin, edx, workers
            )
    return {
        "business_unit": "residential",
        "vpc_name": "MITx QA",
        "network_prefix": "10.5",
        "purposes": {**purposes, **foreign("qa", origin)},
    }


def production(origin=REPOSITORY):
    """MITx production: 18 + 6 hosts live, 3 + 3 draft."""
    purposes = {
        f"residential-{kind}": purpose(
            production_domains(kind), "koa", origin, *PRODUCTION_SIZES[kind]
        )
        for kind in ("draft", "live")
    }
    return {
        "business_unit": "residential",
        "vpc_name": "MITx Production",
        "network_prefix": "10.7",
        "purposes": {**purposes, **foreign("production", origin)},
    }


def purpose(domains, codename, origin, edx, workers):
    """One purpose as MITx writes it."""
    return {
        "domains": domains,
        "num_instances": edx,
        "versions": {
            "codename": codename,
            "edxapp": f"mitx/{codename}",
            "edx_platform_repo": origin,
            "forum": f"open-release/{codename}.master",
            "xqueue": f"open-release/{codename}.master",
        },
        "instances": {
            "edx": {"number": edx, "type": "r5.large"},
            "edx-worker": {"number": workers, "type": "t3.large"},
        },
    }


def qa_domains(family, kind):
    """Host names of a QA purpose by kind."""
    draft = "staging-" if kind == "draft" else ""
    suffix = f"{draft}{family}-qa.mitx.mit.edu"
    return {
        "lms": f"lms-{suffix}",
        "cms": f"studio-{suffix}",
        "preview": f"preview-{suffix}",
        "gitreload": f"gr-{suffix}",
    }


def production_domains(kind):
    """Host names of a production purpose by kind."""
    if kind == "live":
        names = {"lms": "lms", "cms": "studio", "preview": "preview", "gitreload": "gr"}
    else:
        names = {
            "lms": "staging",
            "cms": "studio-staging",
            "preview": "preview-staging",
            "gitreload": "gr-staging",
        }
    return {domain: f"{name}.mitx.mit.edu" for domain, name in names.items()}


def foreign(environment, origin):
    """Purposes of the same map that no run may touch: two of another shape, two of exactly ours."""
    return {
        "xqwatcher": {
            "business_unit": "residential",
            "instances": [{"course": "686", "number": 1}],
        },
        "mitx-cas": {"domains": [f"cas-{environment}.mitx.mit.edu"], "versions": {"cas": "v1.2"}},
        **{
            name: purpose(
                {
                    kind: f"{kind}-{name}-{environment}.mitx.mit.edu"
                    for kind in ("lms", "cms", "preview", "gitreload")
                },
                "juniper",
                origin,
                1,
                1,
            )
            for name in ("continuous-delivery", "sandbox")
        },
    }
