"""/metrics of a real node as Prometheus' own client reads it, and the names that the alerts and the Grafana dashboard use.

Told in FEDNODE_TOLD: base (the node), rules and grafana (files). Prints a line `ok NAME` or `FAIL NAME: why` for each case.
"""

import json
import os
import re
import sys
import urllib.request

import yaml
from prometheus_client.parser import text_string_to_metric_families

TOLD = json.loads(os.environ["FEDNODE_TOLD"])
# What a family's samples may be called beside its name.
SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
FAILED = []


def case(run):
    try:
        run()
        print("ok", run.__name__, flush=True)
    except Exception as why:  # whatever it is, it is said, and the other cases run
        FAILED.append(run.__name__)
        print(f"FAIL {run.__name__}: {why!r}", flush=True)


def scrape():
    with urllib.request.urlopen(TOLD["base"] + "/metrics", timeout=20) as answer:
        kind = answer.headers["content-type"]
        assert kind == "text/plain; version=0.0.4; charset=utf-8", kind
        text = answer.read().decode()
    return list(text_string_to_metric_families(text))


def names(families):
    return {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}


def used(expression):
    """Metric names and the labels that stand beside them in a PromQL expression."""
    found = re.findall(r"\b(fednode_[a-z0-9_]+)\s*(\{[^}]*\})?", expression)
    return [(name, re.findall(r"([a-z_]+)\s*(?:=|!)", labels)) for name, labels in found]


def expressions_of_rules():
    with open(TOLD["rules"], encoding="utf-8") as file:
        groups = yaml.safe_load(file)["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions_of_grafana():
    with open(TOLD["grafana"], encoding="utf-8") as file:
        dashboard = json.load(file)
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return asked + [variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable]


FAMILIES = scrape()


@case
def every_family_has_help_a_known_kind_and_samples_of_its_own():
    assert len(FAMILIES) > 30, len(FAMILIES)
    known = names(FAMILIES)
    for family in FAMILIES:
        assert family.documentation, family.name
        assert family.type in SUFFIXES, (family.name, family.type)
        for sample in family.samples:
            assert sample.name in known, sample
            assert sample.value >= 0, sample


@case
def the_figures_are_those_of_the_node():
    values = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in FAMILIES for sample in family.samples}
    with urllib.request.urlopen(TOLD["base"] + "/state", timeout=20) as answer:
        state = json.load(answer)
    assert values[("fednode_members", (("state", "alive"),))] == TOLD["alive"], values
    for slot in state["slots"]:
        mine = (("slot", slot["name"]), ("state", slot["state"]))
        assert values[("fednode_slot_state", mine)] == 1, slot
    for domain in state["members"][0]["domains"]:
        labels = (("domain", domain["name"]), ("kind", domain["kind"]))
        assert values[("fednode_memory_total_bytes", labels)] == domain["total_bytes"]
        used = values[("fednode_memory_used_bytes", labels)]
        assert 0 <= used <= values[("fednode_memory_usable_bytes", labels)]
    assert values[("fednode_requests_total", (("outcome", "done"),))] >= TOLD["asked"]
    assert values[("fednode_request_first_token_seconds_count", ())] >= TOLD["asked"]
    assert values[("fednode_tokens_total", (("kind", "answer"),))] > 0
    assert values[("fednode_loads_total", (("outcome", "done"),))] >= 1


@case
def labels_are_bounded():
    slots = {"slot", "state"}
    allowed = {"version", "state", "domain", "kind", "slot", "outcome", "le", "cause", "direction"} | slots
    for family in FAMILIES:
        for sample in family.samples:
            assert set(sample.labels) <= allowed, sample
    machines = [sample for family in FAMILIES for sample in family.samples if TOLD["machine"] in sample.labels.values()]
    assert not machines, machines


def check_used(expression, where):
    for name, labels in used(expression):
        assert name in names(FAMILIES), f"{where}: there is no {name}"
        there = {label for family in FAMILIES for sample in family.samples if sample.name == name for label in sample.labels}
        unknown = set(labels) - there - {"instance"}
        # External engines, say, have no sample while there are none.
        assert not there or not unknown, f"{where}: {name} has no label {unknown}"


@case
def every_alert_asks_for_what_is_there():
    rules = expressions_of_rules()
    assert len(rules) > 15, len(rules)
    for rule in rules:
        check_used(rule["expr"], rule.get("alert") or rule["record"])


@case
def the_alerts_have_the_thresholds_of_the_bands():
    rules = {rule.get("alert"): rule for rule in expressions_of_rules()}
    expect = {
        "FednodeMemoryCaution": ("> 60", "<= 75"), "FednodeMemoryWarning": ("> 75", "<= 90"), "FednodeMemoryCritical": ("> 90",),
        "GPUMemoryHigh": ("> 80",), "GPUMemoryCritical": ("> 95",),
    }
    for name, parts in expect.items():
        for part in parts:
            assert part in rules[name]["expr"], (name, part)
    assert (rules["GPUMemoryHigh"]["for"], rules["GPUMemoryCritical"]["for"]) == ("5m", "1m")
    for name, rule in rules.items():
        if name:
            assert rule["labels"]["severity"] and rule["annotations"]["summary"] and rule["annotations"]["action"], name


@case
def every_chart_asks_for_what_is_there():
    asked = expressions_of_grafana()
    assert len(asked) > 15, len(asked)
    for expression in asked:
        check_used(expression, "grafana")


sys.exit(1 if FAILED else 0)
