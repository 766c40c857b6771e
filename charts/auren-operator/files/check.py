"""What `helm test` runs in the operator's image: all replicas are ready, one leads, the AurenStack API is served.

Arguments: the name of the metrics Service, the number of replicas. Ends with the reason and exit code 1 when something
is still wrong after a minute.
"""

import json
import socket
import ssl
import sys
import time
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
METRICS_PORT = 9464
PATIENCE_SECONDS = 60
PAUSE_SECONDS = 2


def main(service: str, replicas: int) -> None:
    """Check until all is well, or until the patience ends."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while wrong := trouble(service, replicas):
        if time.monotonic() > deadline:
            sys.exit(wrong)
        print(wrong)
        time.sleep(PAUSE_SECONDS)
    print(f"{replicas} of {replicas} replicas ready, one leads, aurenstacks.aupex.ai is served")


def trouble(service: str, replicas: int) -> str:
    """The first thing that is wrong; empty when nothing is."""
    try:
        addresses = sorted({str(found[4][0]) for found in socket.getaddrinfo(service, METRICS_PORT)})
        if len(addresses) != replicas:
            return f"{len(addresses)} of {replicas} replicas are ready"
        for address in addresses:
            get(f"{replica(address)}/readyz")
        leaders = sum(leads(get(f"{replica(address)}/metrics")) for address in addresses)
        if leaders != 1:
            return f"{leaders} of {replicas} replicas lead; it should be one"
        if "aurenstacks" not in served():
            return "the cluster does not serve aurenstacks.aupex.ai/v1alpha1"
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def replica(address: str) -> str:
    """Where one replica answers."""
    return f"http://[{address}]:{METRICS_PORT}" if ":" in address else f"http://{address}:{METRICS_PORT}"


def leads(metrics: str) -> bool:
    """Whether a replica says that it holds the Lease."""
    return "auren_operator_leader 1.0" in metrics.splitlines()


def served() -> list[str]:
    """Resources of our API group that the API server knows."""
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    token = (ACCOUNT / "token").read_text()
    answer = get("https://kubernetes.default.svc/apis/aupex.ai/v1alpha1", {"Authorization": f"Bearer {token}"}, context)
    return [resource["name"] for resource in json.loads(answer)["resources"]]


def get(url: str, headers: dict[str, str] | None = None, context: ssl.SSLContext | None = None) -> str:
    """The body of an answer with status 200. Raises OSError for any other answer, and for none."""
    request = urllib.request.Request(url, headers=headers or {})
    with urllib.request.urlopen(request, timeout=5, context=context) as response:
        text: str = response.read().decode()
        return text


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
