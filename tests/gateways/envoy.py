#!/usr/bin/env python3
"""Reads examples/gateways/envoy-jwt.yaml as Envoy's own definitions: every field must be one of them, of its type.

Needs the packages envoy-data-plane==2.2.0 and pyyaml. No Envoy is run.
"""
import importlib
import pathlib
import sys

import yaml

root = pathlib.Path(__file__).resolve().parents[2]
seen = []


def message(url: str):
    package, name = url.removeprefix("type.googleapis.com/").rsplit(".", 1)
    found = importlib.import_module(f"envoy_data_plane.{package}")
    # It writes `RBAC` as `Rbac`.
    return getattr(found, next(own for own in dir(found) if own.lower() == name.lower()))


def read(kind, value: dict, where: str):
    """Fields that hold `Any` name their own type, so they are read one by one and taken out."""
    value = dict(value)
    for name in ("typed_config",):
        if name in value:
            inner = dict(value.pop(name))
            read(message(inner.pop("@type")), inner, f"{where}.{name}")
    for name, part in list(value.items()):
        if isinstance(part, dict) and "typed_config" in part:
            inner = dict(part)
            config = dict(inner.pop("typed_config"))
            read(message(config.pop("@type")), config, f"{where}.{name}")
            value[name] = inner
    kind.from_dict(value)
    seen.append(f"{where}: {kind.__name__}")


def check(config: dict):
    hcm = "envoy.extensions.filters.network.http_connection_manager.v3"
    filters = importlib.import_module(f"envoy_data_plane.{hcm}").HttpFilter
    for entry in config["http_filters"]:
        read(filters, entry, entry["name"])
    cluster = importlib.import_module("envoy_data_plane.envoy.config.cluster.v3").Cluster
    for entry in config["clusters"]:
        read(cluster, entry, entry["name"])


config = yaml.safe_load((root / "examples/gateways/envoy-jwt.yaml").read_text())
check(config)
jwt, rbac = (next(f for f in config["http_filters"] if f["name"].endswith(n))["typed_config"] for n in ("jwt_authn", "rbac"))
provider = jwt["providers"]["vouchsafe"]
# Values of the second filter are where the first one puts them.
named = {ids["metadata"]["path"][0]["key"] for ids in rbac["rules"]["policies"]["eligible"]["principals"][0]["and_ids"]["ids"]}
assert named == {provider["header_in_metadata"], provider["payload_in_metadata"]}, named
# This check can fail: a field that is none of Envoy's, and one of another type.
for field, value in (("isuer", "x"), ("remote_jwks", {"cache": 1})):
    broken = {**provider, field: value}
    try:
        read(message("envoy.extensions.filters.http.jwt_authn.v3.JwtProvider"), broken, "broken")
    except Exception:
        continue
    sys.exit(f"`{field}` is taken for a field of Envoy's")
print("\n".join(seen))
print(f"{len(seen)} messages read")
