"""Keys, certificates and kubeconfigs, made with openssl: one call for each certificate.

Kubernetes reads a user's name from the certificate's CN and the groups from its O. The rights of
`system:...` names are built into every cluster.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.kube.testbed.commands import run
from tests.kube.testbed.layout import (
    API_PORT,
    CLUSTER_DOMAIN,
    FIRST_SERVICE_IP,
    HUB_IP,
    PREFIX,
)
from tests.kube.testbed.state import ClusterState, Machine

CA = "ca"
FRONT_CA = "front-ca"
DNS_USER = f"{PREFIX}-dns"
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650")
_HUB_USERS = ("controller-manager", "scheduler", "coredns")


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says; with addresses it also serves."""

    file: str
    user: str
    group: str = ""
    addresses: Sequence[str] = ()
    authority: str = CA


CONTROL_PLANE = (
    Certificate("front-proxy", "front-proxy", authority=FRONT_CA),
    Certificate(
        "apiserver",
        "kube-apiserver",
        addresses=(
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            f"kubernetes.default.svc.{CLUSTER_DOMAIN}",
            "localhost",
            HUB_IP,
            FIRST_SERVICE_IP,
            "127.0.0.1",
        ),
    ),
    Certificate("admin", f"{PREFIX}-admin", "system:masters"),
    Certificate("apiserver-kubelet", "kube-apiserver-kubelet", "system:masters"),
    Certificate("controller-manager", "system:kube-controller-manager"),
    Certificate("scheduler", "system:kube-scheduler"),
    Certificate("kube-proxy", "system:kube-proxy"),
    Certificate("coredns", DNS_USER),
)


def node_certificate(node: Machine) -> Certificate:
    """A kubelet's certificate, as client and as server."""
    return Certificate(node.name, f"system:node:{node.name}", "system:nodes", (node.name, node.ip))


def authority_arguments(folder: Path, name: str) -> list[str]:
    """The command that makes an authority."""
    return [
        *("openssl", "req", "-x509", *_NEW_KEY),
        *("-subj", f"/CN={PREFIX}-{name}"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        *("-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.crt"),
    ]


def certificate_arguments(folder: Path, certificate: Certificate) -> list[str]:
    """The command that makes a key and its certificate."""
    file, authority = certificate.file, certificate.authority
    usage = "extendedKeyUsage=clientAuth" + (",serverAuth" if certificate.addresses else "")
    arguments = [
        *("openssl", "req", "-x509", *_NEW_KEY),
        *("-CA", f"{folder}/{authority}.crt", "-CAkey", f"{folder}/{authority}.key"),
        *("-subj", _subject(certificate)),
        *("-addext", usage, "-addext", "basicConstraints=critical,CA:FALSE"),
        *("-keyout", f"{folder}/{file}.key", "-out", f"{folder}/{file}.crt"),
    ]
    if certificate.addresses:
        names = ",".join(map(_alternative, certificate.addresses))
        arguments += ["-addext", f"subjectAltName={names}"]
    return arguments


def _subject(certificate: Certificate) -> str:
    group = f"/O={certificate.group}" if certificate.group else ""
    return f"{group}/CN={certificate.user}"


def _alternative(address: str) -> str:
    kind = "IP" if address.replace(".", "").isdigit() else "DNS"
    return f"{kind}:{address}"


def make_all(state: ClusterState) -> None:
    """Make what is missing of a cluster's keys, certificates and kubeconfigs."""
    folder = state.folders.certificates
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (CA, FRONT_CA):
        if not (folder / f"{name}.crt").exists():
            run(authority_arguments(folder, name))
    _make_token_keys(folder)
    for certificate in [*CONTROL_PLANE, *map(node_certificate, state.nodes)]:
        if not (folder / f"{certificate.file}.crt").exists():
            run(certificate_arguments(folder, certificate))
    _write_kubeconfigs(state)


def _make_token_keys(folder: Path) -> None:
    """Service account tokens are signed with a bare key pair, not with a certificate."""
    private, public = folder / "sa.key", folder / "sa.pub"
    if not public.exists():
        kind = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
        run(["openssl", "genpkey", *kind, "-out", private])
        run(["openssl", "pkey", "-in", private, "-pubout", "-out", public])


def _write_kubeconfigs(state: ClusterState) -> None:
    settings = state.folders.settings
    settings.mkdir(parents=True, exist_ok=True)
    users = [*_HUB_USERS, "kube-proxy", *(node.name for node in state.nodes)]
    for user in users:
        host = "127.0.0.1" if user in _HUB_USERS else HUB_IP
        text = _kubeconfig_of(state, user, f"https://{host}:{API_PORT}")
        (settings / f"{user}.kubeconfig").write_text(text)
    path = state.folders.kubeconfig
    path.touch(mode=0o600)
    path.write_text(_kubeconfig_of(state, "admin", f"https://127.0.0.1:{state.port}"))


def _kubeconfig_of(state: ClusterState, user: str, server: str) -> str:
    folder = state.folders.certificates
    names = {"ca": f"{CA}.crt", "certificate": f"{user}.crt", "key": f"{user}.key"}
    return kubeconfig(user, server, {key: (folder / n).read_bytes() for key, n in names.items()})


def kubeconfig(user: str, server: str, keys: Mapping[str, bytes]) -> str:
    """JSON is YAML, and the keys inside make the file work wherever it is copied."""
    inline = {name: base64.b64encode(content).decode() for name, content in keys.items()}
    cluster = {"server": server, "certificate-authority-data": inline["ca"]}
    credentials = {
        "client-certificate-data": inline["certificate"],
        "client-key-data": inline["key"],
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": PREFIX, "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": PREFIX, "context": {"cluster": PREFIX, "user": user}}],
        "current-context": PREFIX,
    }
    return json.dumps(document, indent=1)
