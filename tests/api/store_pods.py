"""A store's pod as plain processes: rendered manifests on real root file systems, without an engine or a cluster.

A pod here has what counts for start scripts and configuration: network and process namespaces of its own, the image's
files read-only, the mounts, user and environment that its manifest says, no capabilities, and the scripts as process 1.
Pods of one `Network` reach each other under the names that Kubernetes would give them. Needs root.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.api.places import REPOSITORY, on_path, part, root_file_system
from tests.api.processes import Server, Servers

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
READY_SECONDS: Final = 180
"""As long as a store's start may take on a busy machine; three Java servers start at once."""

HERE: Final = "10.90.0.1"
"""The address of whoever runs commands in the pods' network."""


@dataclass(frozen=True)
class Image:
    """A root file system, files on top of it, and folders of this machine mounted into it (path → folder)."""

    root: Path
    files: Mapping[str, str]
    folders: Mapping[str, Path]
    path: str = DEFAULT_PATH
    stop_signal: signal.Signals = signal.SIGTERM


def timescaledb_image() -> Image:
    """As `images/timescaledb/Dockerfile`."""
    root = root_file_system("postgres")
    passwd = (root / "etc/passwd").read_text() + "postgres70:x:70:70::/var/lib/postgresql:/bin/sh\n"
    entrypoint = (REPOSITORY / "images/timescaledb/docker-entrypoint.sh").read_text()
    files = {"etc/passwd": passwd, "usr/local/bin/docker-entrypoint.sh": entrypoint}
    return Image(root, files, {}, f"/usr/lib/postgresql/17/bin:{DEFAULT_PATH}", signal.SIGINT)


def redis_image() -> Image:
    """As `images/redis/Dockerfile`."""
    return Image(root_file_system("redis"), {}, {})


def kafka_image() -> Image:
    """As `images/kafka/Dockerfile`."""
    run = (REPOSITORY / "images/kafka/kafka-run.sh").read_text()
    root = root_file_system("java")
    passwd = (root / "etc/passwd").read_text() + "appuser:x:1000:1000::/opt/kafka:/bin/sh\n"
    files = {f"opt/kafka/bin/kafka-{name}.sh": run for name in ("storage", "server-start")}
    return Image(root, {"etc/passwd": passwd, **files}, {"opt/kafka/libs": part("kafka", "libs")})


class Network:
    """What the pods' network cards are plugged into; commands of the test run in it, too."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.plugged = 0
        self.addresses: dict[str, str] = {}
        self.hosts = servers.folder / "hosts"
        self.hosts.touch()
        self.namespace = self._namespace("network")
        self._inside(self.namespace, "ip link add pods type bridge; ip link set pods up; ip link set lo up")
        self._inside(self.namespace, f"ip address add {HERE}/24 dev pods")

    def plug_in(self, name: str) -> int:
        """Give a pod a network of its own, known to all by ``name``; returns the process that holds it."""
        holder = self._namespace(name.partition(".")[0])
        self.plugged += 1
        number = self.plugged + 1
        address = f"10.90.0.{number}"
        here, there = ["netns", str(self.namespace)], ["netns", str(holder)]
        cable = ["ip", "link", "add", f"pod{number}", *here, "type", "veth", "peer", "name", "eth0", *there]
        subprocess.run(cable, check=True)
        self._inside(self.namespace, f"ip link set pod{number} master pods; ip link set pod{number} up")
        self._inside(holder, f"ip link set lo up; ip address add {address}/24 dev eth0; ip link set eth0 up")
        self.name(name, address)
        return holder

    def name(self, name: str, address: str) -> None:
        """Have a name lead to an address, in every pod and command of this network."""
        self.addresses[name] = address
        self.hosts.write_text("".join(f"{where} {who}\n" for who, where in self.addresses.items()))

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command of this machine in the pods' network."""
        names = f"mount --bind {self.hosts} /etc/hosts; exec {shlex.join(command)}"
        inside = ["nsenter", f"--net=/proc/{self.namespace}/ns/net", "unshare", "--mount", "sh", "-e", "-c", names]
        return subprocess.run(inside, env={"PATH": DEFAULT_PATH, **environment}, capture_output=True, text=True)

    def _namespace(self, name: str) -> int:
        command: list[str | Path] = [on_path("unshare"), "--net", "sh", "-c", "echo made; exec sleep infinity"]
        holder = self.servers.add(Server(name, command, self.servers.folder / f"{name}.network.log", lambda: False))
        holder.ready = lambda: holder.said("made")
        holder.start()
        return holder.pid

    @staticmethod
    def _inside(holder: int, script: str) -> None:
        subprocess.run(["nsenter", f"--net=/proc/{holder}/ns/net", "sh", "-e", "-c", script], check=True)


class StorePod:
    """One replica of a StatefulSet. Its volume outlives stops, kills and new manifests."""

    def __init__(self, network: Network, image: Image, stateful_set: Mapping[str, Any], ordinal: int = 0) -> None:
        self.network = network
        self.image = image
        metadata = stateful_set["metadata"]
        self.name = f"{metadata['name']}-{ordinal}"
        self.folder = network.servers.folder / self.name
        self.folder.mkdir()
        service = f"{stateful_set['spec']['serviceName']}.{metadata['namespace']}.svc"
        self.holder = network.plug_in(f"{self.name}.{service}")
        self.server: Server | None = None
        self.update(stateful_set)

    def update(self, stateful_set: Mapping[str, Any]) -> None:
        """Take another manifest; it counts from the next start."""
        self.spec = stateful_set["spec"]["template"]["spec"]
        (self.container,) = self.spec["containers"]
        self.user = int(self.spec["securityContext"]["runAsUser"])

    def start(self, config: Mapping[str, str], secrets: Mapping[str, Mapping[str, str]]) -> None:
        """Start it with this content of its ConfigMap and its Secrets (name → key → value), until it is ready."""
        self.launch(config, secrets).wait_ready()

    def launch(self, config: Mapping[str, str], secrets: Mapping[str, Mapping[str, str]]) -> Server:
        """Start it, and return without waiting for it to be ready."""
        self._fill(config, secrets)
        command: list[str | Path] = [on_path("nsenter"), f"--net=/proc/{self.holder}/ns/net"]
        command += ["unshare", "--mount", "--pid", "--fork", "sh", "-e", "-c", self._script()]
        log = self.folder / "log"
        server = Server(self.name, command, log, self.is_ready, {"PATH": self.image.path, **self._environment()})
        server.ready_seconds = READY_SECONDS
        server.stop_signal = signal.SIGKILL  # unshare ignores the gentle ones; process 1 dies with it
        self.server = self.network.servers.add(server)
        server.launch()
        return server

    def is_ready(self) -> bool:
        """Whether the readiness probe of the manifest succeeds."""
        probe = self.container["readinessProbe"]
        if "exec" in probe:
            return self.execute(*probe["exec"]["command"]).returncode == 0
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        return (
            self.execute("sh", "-c", f"grep -q :{ports[probe['tcpSocket']['port']]:04X} /proc/net/tcp6").returncode == 0
        )

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as `kubectl exec` would."""
        enter = ["nsenter", "--target", str(self.init), "--all", f"--root=/proc/{self.init}/root"]
        identity = [f"--setuid={self.user}", f"--setgid={self.user}"]
        environment = {"PATH": self.image.path, **self._environment()}
        return subprocess.run([*enter, *identity, *command], env=environment, capture_output=True, text=True)

    @property
    def init(self) -> int:
        """Process 1 of the container, as the machine counts; 0 while there is none."""
        assert self.server is not None, f"{self.name} was not started"
        try:
            children = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children").read_text().split()
        except FileNotFoundError:
            return 0
        return int(children[0]) if children else 0

    def stop(self) -> None:
        """End it as the kubelet would, and wait. Raises TimeoutExpired after the grace period."""
        assert self.server is not None, f"{self.name} was not started"
        os.kill(self.init, self.image.stop_signal)
        self.server.wait_ended(self.spec["terminationGracePeriodSeconds"])

    def kill(self) -> None:
        """End all its processes at once."""
        assert self.server is not None, f"{self.name} was not started"
        os.kill(self.init, signal.SIGKILL)
        self.server.wait_ended(self.spec["terminationGracePeriodSeconds"])

    def empty_volume(self) -> None:
        """Lose the volume's data."""
        shutil.rmtree(self.folder / "data")

    def log(self) -> str:
        """All that it has printed since the first start."""
        return (self.folder / "log").read_text(errors="replace")

    def _environment(self) -> dict[str, str]:
        return {
            one["name"]: one["value"] if "value" in one else {"metadata.name": self.name}[_field(one)]
            for one in self.container.get("env", ())
        }

    def _fill(self, config: Mapping[str, str], secrets: Mapping[str, Mapping[str, str]]) -> None:
        """Make every volume's folder; the data's and nothing else's content stays."""
        for name in {mount["name"] for mount in self.container["volumeMounts"]} - {"data"}:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for volume in self.spec["volumes"]:
            folder = self.folder / volume["name"]
            folder.mkdir()
            if "configMap" in volume:
                _write(folder, config, 0o444)
            for source in volume.get("projected", {}).get("sources", ()):
                secret = source["secret"]
                files = {item["path"]: secrets[secret["name"]][item["key"]] for item in secret["items"]}
                _write(folder, files, volume["projected"]["defaultMode"])
            if "secret" in volume:  # a person's: it need not be there, nor have every key
                secret = volume["secret"]
                had = secrets.get(secret["secretName"], {})
                files = {item["path"]: had[item["key"]] for item in secret["items"] if item["key"] in had}
                _write(folder, files, secret["defaultMode"])
        (self.folder / "data").mkdir(exist_ok=True)
        for path in [one for name in self._volumes() for one in (self.folder / name, *(self.folder / name).iterdir())]:
            os.chown(path, 0 if path.is_file() else self.user, self.user)

    def _volumes(self) -> set[str]:
        fresh = {mount["name"] for mount in self.container["volumeMounts"]}
        return fresh - {"data"} if any((self.folder / "data").iterdir()) else fresh

    def _script(self) -> str:
        """What makes the container's file system and becomes its command."""
        root, upper, work = (self.folder / name for name in ("root", "upper", "work"))
        shutil.rmtree(upper, ignore_errors=True)
        for folder in (root, upper, work):
            folder.mkdir(exist_ok=True)
        _write(upper, self.image.files, 0o755)
        layers = f"lowerdir={self.image.root},upperdir={upper},workdir={work}"
        binds = {
            **{f"/{path}": folder for path, folder in self.image.folders.items()},
            "/etc/hosts": self.network.hosts,
        }
        binds |= {_real(mount): self.folder / mount["name"] for mount in self.container["volumeMounts"]}
        read_only = [_real(mount) for mount in self.container["volumeMounts"] if mount.get("readOnly")]
        lines = [
            "mount --make-rprivate /",
            f"mount -t overlay overlay -o {layers} {root}",
            f"mount -t proc proc {root}/proc",
        ]
        lines += [f"mount --rbind /dev {root}/dev", f"touch {root}/etc/hosts"]
        lines += [f"mkdir -p {root}{path}" for path, source in binds.items() if source.is_dir()]
        lines += [f"mount --bind {source} {root}{path}" for path, source in binds.items()]
        lines += [f"mount -o remount,bind,ro {root}{path}" for path in read_only]
        lines += [f"mount -o remount,ro {root}"]
        rights = f"--reuid {self.user} --regid {self.user} --clear-groups --no-new-privs --bounding-set=-all"
        command = shlex.join(self.container["command"])
        lines += [f"exec chroot {root} /usr/bin/setpriv --pdeathsig KILL {rights} -- {command}"]
        return "\n".join(lines)


def _real(mount: Mapping[str, Any]) -> str:
    """The path of a mount without the link /var/run, which would lead out of the image."""
    path: str = mount["mountPath"]
    return path.removeprefix("/var") if path.startswith("/var/run/") else path


def _field(variable: Mapping[str, Any]) -> str:
    path: str = variable["valueFrom"]["fieldRef"]["fieldPath"]
    return path


def _write(folder: Path, files: Mapping[str, str], mode: int) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
