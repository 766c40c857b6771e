#!/usr/bin/env bash
# What follows from crds/ and the chart, and is in git all the same; tests fail while it is out of date.
# usage: manifests.sh                             writes the chart's copy of the CRD, and manifests/install.yaml
#        manifests.sh install [HELM-ARGUMENT...]  prints the plain install, with other values if you like
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

CHART=$REPO/charts/auren-operator
CRD=aurenstacks.aupex.ai.yaml
NAMESPACE=auren-system

install() { # the chart, rendered, without what only Helm understands
  cat <<END
# The operator without Helm, in namespace $NAMESPACE, for stacks in all namespaces. Written by hack/manifests.sh.
#   kubectl apply --server-side -f manifests/install.yaml
# The project's own images are in no registry yet: push them to one of yours, and put its name in front of theirs.
apiVersion: v1
kind: Namespace
metadata:
  name: $NAMESPACE
  labels:
    pod-security.kubernetes.io/enforce: restricted
END
  helm template auren-operator "$CHART" --namespace "$NAMESPACE" --no-hooks --set crds.keep=false "$@" |
    sed -e '/^ *helm\.sh\/chart: /d' -e '/^ *app\.kubernetes\.io\/managed-by: Helm$/d' -e '/^# Source: /d' |
    cat -s | sed -e '/^$/{N;/\n---$/s/^\n//}'
}

case ${1:-} in
  "")
    cp "$REPO/crds/$CRD" "$CHART/files/$CRD"
    install >"$REPO/manifests/install.yaml.part"
    mv "$REPO/manifests/install.yaml.part" "$REPO/manifests/install.yaml" ;;
  install) shift; install "$@" ;;
  *) usage ;;
esac
