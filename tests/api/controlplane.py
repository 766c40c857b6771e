"""A Kubernetes control plane as plain processes: etcd, API server, controllers, scheduler, and kwok as fake kubelet.

In a test, ask for the fixture ``control_plane`` (one for the session) and ``namespace`` (one for the test). Pods are
scheduled, get volumes, become Ready and Jobs succeed, without a container running anywhere.
"""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.api.pki import Authority, signing_key
from tests.api.places import program
from tests.api.processes import Server, Servers, free_port, listens

COUNTED_GROUP = "tests.aupex.ai:counted"
"""Writes of users in this group stand in the audit log."""

ACCOUNTS_GROUP = "system:serviceaccounts:auren-system"
"""All requests of these accounts stand in the audit log; a watch does when it has ended."""

WRITES = ("create", "update", "patch", "delete", "deletecollection")

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {"level": "Metadata", "userGroups": [COUNTED_GROUP], "verbs": list(WRITES)},
        {"level": "Metadata", "userGroups": [ACCOUNTS_GROUP]},
        {"level": "None"},
    ],
}

NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "fake", "labels": {"kubernetes.io/hostname": "fake"}}}

STORAGE_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "tests.aupex.ai/volumes",
    "reclaimPolicy": "Delete",
    "allowVolumeExpansion": True,
    "volumeBindingMode": "Immediate",
}


@dataclass(frozen=True)
class Credentials:
    """How one user reaches the API server."""

    address: str
    kubeconfig: Path
    authority_file: Path
    certificate_file: Path
    key_file: Path

    def ssl_context(self) -> ssl.SSLContext:
        """For clients that are not given a kubeconfig."""
        context = ssl.create_default_context(cafile=str(self.authority_file))
        context.load_cert_chain(self.certificate_file, self.key_file)
        return context


@dataclass(frozen=True)
class Request:
    """One request, as the API server's audit log has it; ``resource`` is empty where it was for no object.

    ``allowed`` is what the account's rights said to it: admission may have refused it still.
    """

    user: str
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    allowed: bool
    at: str


class ControlPlane:
    """Starts all of it; ``servers`` ends it. ``admin`` may do everything."""

    def __init__(self, servers: Servers, *, controller_flags: Sequence[str] = ()) -> None:
        self.servers = servers
        self.folder = servers.folder
        self.authority = Authority(self._made("pki"))
        self.port = free_port()
        self.address = f"https://127.0.0.1:{self.port}"
        self.audit_log = self.folder / "audit.log"
        self._requests: list[Request] = []
        self._audit_read = 0
        self._etcd_port = free_port()
        self.admin = self.user("admin", ["system:masters"])
        self.etcd = servers.add(self._etcd())
        self.api_server = servers.add(self._api_server())
        self.controllers = servers.add(self._controllers(controller_flags))
        self.scheduler = servers.add(self._scheduler())
        self.kwok = servers.add(self._kwok())

    def start(self) -> None:
        """Start everything and wait until a pod could run. Raises ServerFailedError."""
        self.etcd.launch()
        self.api_server.start()
        for server in (self.controllers, self.scheduler, self.kwok):
            server.launch()
        self._create("/api/v1/nodes", NODE)
        self._create("/apis/storage.k8s.io/v1/storageclasses", STORAGE_CLASS)
        for server in (self.controllers, self.scheduler, self.kwok):
            server.wait_ready()
        self._wait_for_node()

    def user(self, name: str, groups: Sequence[str], address: str | None = None) -> Credentials:
        """A client certificate and kubeconfig for a user; ``address`` where it goes through a proxy."""
        certificate, key = self.authority.client(name, groups)
        login = {"client-certificate": str(certificate), "client-key": str(key)}
        kubeconfig = self.write_kubeconfig(name, login, address)
        return Credentials(address or self.address, kubeconfig, self.authority.certificate_file, certificate, key)

    def write_kubeconfig(self, name: str, login: dict[str, str], address: str | None = None) -> Path:
        """A kubeconfig whose user logs in by these fields (``token``, ``client-certificate`` …)."""
        cluster = {"server": address or self.address, "certificate-authority": str(self.authority.certificate_file)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": name, "user": login}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": name}}],
            "current-context": "tests",
        }
        file = self.folder / f"{name.replace(':', '-')}.kubeconfig"
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(content))
        return file

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as the admin and return what it prints. Raises CalledProcessError."""
        command = [str(program("kubectl")), f"--kubeconfig={self.admin.kubeconfig}", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout

    def compact(self) -> None:
        """Drop etcd's history, then restart the API server: a watch from before can only be answered with 410 Gone.

        Without the restart the API server's own watch cache would still hold the events.
        """
        endpoint = f"http://127.0.0.1:{self._etcd_port}"
        status = _post(endpoint, "/v3/maintenance/status", {})
        _post(endpoint, "/v3/kv/compaction", {"revision": status["header"]["revision"], "physical": True})
        self.api_server.kill()
        self.api_server.start()

    def writes(self, user: str | None = None) -> list[Request]:
        """The counted writes so far (of one user), oldest first; the log is written before the answer is sent."""
        return [request for request in self.requests(user) if request.verb in WRITES]

    def requests(self, user: str | None = None) -> list[Request]:
        """Everything in the audit log (of one user), oldest first."""
        if self.audit_log.exists():
            with self.audit_log.open("rb") as log:
                log.seek(self._audit_read)
                lines = log.read().split(b"\n")
                self._audit_read = log.tell() - len(lines[-1])
            self._requests.extend(_request_of(json.loads(line)) for line in lines[:-1])
        return [request for request in self._requests if user is None or request.user == user]

    def _made(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _etcd(self) -> Server:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{free_port()}"
        flags = [
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            f"--quota-backend-bytes={4 * 1024**3}",
        ]
        return Server("etcd", [program("etcd"), *flags], self._log("etcd"), lambda: listens(self._etcd_port))

    def _api_server(self) -> Server:
        certificate, key = self.authority.server("kube-apiserver", ["localhost", "kubernetes.default.svc"])
        private, public = signing_key(self.authority.folder)
        policy = self.folder / "audit-policy.yaml"
        policy.write_text(yaml.safe_dump(AUDIT_POLICY))
        flags = [
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--secure-port={self.port}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self.authority.certificate_file}",
            f"--service-account-key-file={public}",
            f"--service-account-signing-key-file={private}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/12",
            "--authorization-mode=RBAC",
            # on in OpenShift: who gives an object an owner must be allowed to delete that object
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
            "--allow-privileged",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-maxsize=0",
            "--event-ttl=1h",
            "--v=0",
        ]
        return Server("kube-apiserver", [program("kube-apiserver"), *flags], self._log("kube-apiserver"), self._ready)

    def _controllers(self, flags: Sequence[str]) -> Server:
        port = free_port()
        private = self.authority.folder / "tokens.key"
        common = [
            f"--kubeconfig={self.admin.kubeconfig}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={self.folder}",
            f"--service-account-private-key-file={private}",
            f"--root-ca-file={self.authority.certificate_file}",
            "--use-service-account-credentials=false",
            "--v=0",
        ]
        command: list[str | Path] = [program("kube-controller-manager"), *common, *flags]
        name = "kube-controller-manager"
        return Server(name, command, self._log(name), lambda: listens(port))

    def _scheduler(self) -> Server:
        port = free_port()
        flags = [
            f"--kubeconfig={self.admin.kubeconfig}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={self.folder}",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--v=0",
        ]
        command: list[str | Path] = [program("kube-scheduler"), *flags]
        return Server("kube-scheduler", command, self._log("kube-scheduler"), lambda: listens(port))

    def _kwok(self) -> Server:
        port = free_port()
        flags = [
            f"--kubeconfig={self.admin.kubeconfig}",
            f"--config={Path(__file__).with_name('kwok.yaml')}",
            "--manage-all-nodes",
            "--node-ip=127.0.0.1",
            "--cidr=10.64.0.0/12",
            "--node-lease-duration-seconds=40",
            f"--server-address=127.0.0.1:{port}",
        ]
        # without a home folder of its own it would read the user's ~/.kwok/kwok.yaml, too
        environment = {"HOME": str(self.folder)}
        return Server("kwok", [program("kwok"), *flags], self._log("kwok"), lambda: listens(port), environment)

    def restart_controllers(self, flags: Sequence[str]) -> None:
        """Start kube-controller-manager again with other flags, e.g. its client's limits."""
        self.controllers.stop()
        self.controllers = self.servers.add(self._controllers(flags))
        self.controllers.start()

    def _ready(self) -> bool:
        try:
            return self._request("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def _request(self, verb: str, path: str, body: Any = None) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.admin.ssl_context(), timeout=10)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request(verb, path, body=json.dumps(body) if body else None, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _create(self, path: str, manifest: dict[str, Any]) -> None:
        code, answer = self._request("POST", path, manifest)
        assert code in (200, 201, 409), answer.decode()

    def _wait_for_node(self) -> None:
        """Until the scheduler may use the node: Ready, and without the taint that every new node gets."""

        def schedulable() -> bool:
            node = json.loads(self._request("GET", "/api/v1/nodes/fake")[1])
            conditions = {c["type"]: c["status"] for c in node["status"].get("conditions", ())}
            return conditions.get("Ready") == "True" and not node["spec"].get("taints")

        self.kwok.wait_until(schedulable, "running a node")


def _request_of(event: dict[str, Any]) -> Request:
    target = event.get("objectRef", {})
    return Request(
        user=event["user"]["username"],
        verb=event["verb"],
        group=target.get("apiGroup", ""),
        resource=target.get("resource", ""),
        subresource=target.get("subresource", ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        allowed=event.get("annotations", {}).get("authorization.k8s.io/decision") == "allow",
        at=event["requestReceivedTimestamp"],
    )


def _post(endpoint: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=30)
    try:
        connection.request("POST", path, body=json.dumps(body))
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer
    finally:
        connection.close()
