"""The PrometheusRule, made of the rules that promtool tests: kustomize joins no two files."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
RESOURCE = ROOT / "deploy" / "k8s" / "components" / "monitoring" / "prometheus-rule.yaml"
COMMENT = "# Made from deploy/prometheus/rules.yml by: python -m tests.deploy\n"


def text() -> str:
    """Return what the resource's file must hold."""
    rules = yaml.load(RULES.read_text(), Loader=yaml.CSafeLoader)
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "promobandit", "labels": {"app.kubernetes.io/name": "promobandit"}},
        "spec": rules,
    }
    return COMMENT + yaml.dump(resource, Dumper=yaml.CSafeDumper, sort_keys=False, width=120)
