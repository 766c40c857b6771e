#!/usr/bin/env bash
# A Docker engine of our own in a network namespace of its own. It touches no other engine on the machine.
# usage: engine.sh up      start it, or repair what an unclean end left; does nothing where it runs
#        engine.sh down    stop it and all that runs in it, remove namespace and mounts; images stay
#        engine.sh purge   down, and forget its images too
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

PIDFILE=$ENGINE/docker.pid
RUN_DIR=/run/$NETNS-docker
SYSCTLS=(vm.overcommit_memory kernel.panic kernel.panic_on_oops)   # a kubelet sets these for the whole machine

engine_pid() { # prints the pid of our dockerd, fails when it does not run
  local pid
  pid=$(cat "$PIDFILE" 2>/dev/null) && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q "^dockerd .*$ENGINE/" &&
    echo "$pid"
}
answers() { timeout 10 docker info >/dev/null 2>&1; }

namespace_up() {
  # a namespace whose mount is gone leaves a plain file behind, and entering it fails
  if [ -e "/run/netns/$NETNS" ] && ! nsenter --net="/run/netns/$NETNS" true 2>/dev/null; then
    rm -f "/run/netns/$NETNS"
  fi
  [ -e "/run/netns/$NETNS" ] || ip netns add "$NETNS"
  in_ns ip link set lo up
  in_ns sysctl -qw net.ipv4.ip_forward=1
}

start() {
  # dockerd takes the containerd of a killed predecessor for alive when some other process has its pid now
  rm -f "$PIDFILE" "$RUN_DIR/containerd/containerd.pid"
  setsid nsenter --net="/run/netns/$NETNS" dockerd -H "$DOCKER_HOST" --data-root "$ENGINE/data" \
    --exec-root "$RUN_DIR" --pidfile "$PIDFILE" --add-runtime nocap="$ENGINE/runc-nocap" --default-runtime nocap \
    --log-level warn >>"$ENGINE/dockerd.log" 2>&1 </dev/null 9>&- &
  local launched=$!
  for _ in $(seq 600); do
    answers && return
    [ -e "/proc/$launched" ] || return 1
    sleep .1
  done
  return 1
}

stop() {
  local pid
  if pid=$(engine_pid); then
    docker ps -q 2>/dev/null | xargs -r timeout 60 docker kill >/dev/null 2>&1 || true
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 300); do [ -e "/proc/$pid" ] || break; sleep .1; done
    if [ -e "/proc/$pid" ]; then kill -9 "$pid"; fi
  fi
}

# Ends what a killed engine left: its containerd, and shims, whose containers' processes end with them. Ours are those
# that were started from our run folder.
end_leftovers() {
  local proc pid
  for proc in /proc/[0-9]*; do
    pid=${proc#/proc/}
    if tr '\0' ' ' <"$proc/cmdline" 2>/dev/null | grep -Eq "^(\S*/)?containerd(-shim\S*)? .*$RUN_DIR/"; then
      end_namespace_of_children "$pid"
      kill -9 "$pid" 2>/dev/null || true
    fi
  done
}
end_namespace_of_children() { # a container's first process: with it all of its pid namespace ends
  tr ' ' '\n' 2>/dev/null <"/proc/$1/task/$1/children" | xargs -r kill -9 2>/dev/null || true
}

unmount_all() {
  local mount
  # innermost first; a lazy unmount so that a straggler cannot keep it
  awk -v a="$ENGINE/" -v b="$RUN_DIR/" 'index($5, a) == 1 || index($5, b) == 1 {print $5}' /proc/self/mountinfo |
    sort -r | while read -r mount; do umount -l "$mount" 2>/dev/null || true; done
}

up() {
  mkdir -p "$ENGINE"
  [ -e "$ENGINE/sysctl.saved" ] || sysctl "${SYSCTLS[@]}" >"$ENGINE/sysctl.saved"
  install -m 755 "$HACK/runc-nocap" "$ENGINE/runc-nocap"   # a copy: the checkout may move away under a running engine
  namespace_up
  if ! { engine_pid >/dev/null && answers; }; then
    stop
    if ! start; then
      say "the engine did not start with what it left behind; it starts with no images"
      tail -5 "$ENGINE/dockerd.log" >&2
      stop; end_leftovers; unmount_all
      rm -rf "$ENGINE/data" "$RUN_DIR"
      start || { tail -20 "$ENGINE/dockerd.log" >&2; die "dockerd does not start (log: $ENGINE/dockerd.log)"; }
    fi
  fi
  docker info --format 'engine {{.ServerVersion}}, {{.Driver}}, cgroup v{{.CgroupVersion}}' >&2
}

down() {
  stop
  end_leftovers
  unmount_all
  rm -rf "$RUN_DIR"
  rm -f "$PIDFILE" "$ENGINE/docker.sock" "$ENGINE/dockerd.log"
  if [ -e "/run/netns/$NETNS" ]; then ip netns del "$NETNS" 2>/dev/null || rm -f "/run/netns/$NETNS"; fi
  if [ -e "$ENGINE/sysctl.saved" ]; then sysctl -qp "$ENGINE/sysctl.saved" && rm "$ENGINE/sysctl.saved"; fi
}

if [ "$ENGINE_MODE" = docker ]; then
  [ "${1:-}" != up ] || docker info >/dev/null 2>&1 || die "AUREN_ENGINE=docker, but no Docker engine answers"
  exit 0
fi
need_root
case ${1:-} in
  up)
    need dockerd=docker.io docker=docker.io runc=runc ip=iproute2 nsenter=util-linux sysctl=procps iptables=iptables
    locked "engine$SUFFIX" up ;;
  down) locked "engine$SUFFIX" down ;;
  purge) locked "engine$SUFFIX" down; rm -rf "$ENGINE/data" ;;
  *) usage ;;
esac
