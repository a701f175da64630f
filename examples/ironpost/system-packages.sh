#!/bin/sh
# Install what the system tests need: podman and runc for a container engine, a busybox that needs no libraries for the
# containers, netavark and iptables for their networks, ip, unshare and nsenter for network name spaces, clang, libbpf
# and their headers for programs in the kernel. Nothing is pulled from a registry of images. What cannot be installed is
# not fatal: the tests that need it are skipped, and say why.
set -eu

missing=""
PATH=$PATH:/usr/lib/podman:/usr/libexec/podman # where podman looks for what it calls
for need in podman:podman runc:runc busybox:busybox-static netavark:netavark iptables:iptables ip:iproute2 \
    unshare:util-linux nsenter:util-linux clang:clang; do
    command -v "${need%%:*}" >/dev/null || missing="$missing ${need#*:}"
done
[ -e /usr/include/bpf/bpf_helpers.h ] || missing="$missing libbpf-dev"
[ -e /usr/include/linux/bpf.h ] || missing="$missing linux-libc-dev"
if [ -z "$missing" ]; then
    exit 0
fi
echo "the system tests need:$missing"
if [ "$(id -u)" != 0 ]; then
    echo "not installed, because that needs root: sudo make test-system"
elif ! command -v apt-get >/dev/null; then
    echo "not installed, because there is no apt-get here; install them as your system does it"
else
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # they are several words
    if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $missing; } >/tmp/ironpost-apt.log 2>&1; then
        echo "apt-get could not install them:"
        tail -n 5 /tmp/ironpost-apt.log
    fi
fi
