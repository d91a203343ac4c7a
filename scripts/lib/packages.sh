# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Debian 12 packages that building and testing need; what is missing is installed, as root. To be
# sourced, after say.sh. Nothing beyond a base system (bash, apt, dpkg, util-linux) is assumed.
#
# Packaged services (those of nfs-ganesha, tgt and others) must not start: the tests run servers of their own,
# on private ports. So a policy-rc.d that refuses every start stands for the time of the
# installation, where the machine has none (invoke-rc.d(8)).

packages_policy_file=/usr/sbin/policy-rc.d
packages_policy_mark='# Put here by gantry for the time of one apt-get run.'
packages_lock_file=/run/lock/gantry-packages.lock
packages_lock_wait_s_max=900

packages_build() {
  packages_install build \
    git cmake ninja-build g++ ccache mold pkg-config \
    libgrpc++-dev libabsl-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev \
    libboost-dev libboost-context-dev libnfs-dev libiscsi-dev libssh-dev librados-dev libcephfs-dev \
    libfuse3-dev libspdlog-dev \
    libyaml-cpp-dev nlohmann-json3-dev libexpected-dev libcli11-dev libmount-dev libblkid-dev \
    libseccomp-dev libcap-ng-dev e2fsprogs xfsprogs btrfs-progs cryptsetup-bin \
    libssl-dev prometheus-cpp-dev libgtest-dev libgmock-dev libbenchmark-dev
}

packages_nfs_lab() {
  packages_install 'NFS lab' nfs-ganesha nfs-ganesha-vfs fuse3 iproute2 fio sqlite3 rsync git
}

# What the long tests run on volumes.
packages_long() { packages_install 'long tests' postgresql postgresql-contrib; }

# tgt's installation itself fails where its service may start and cannot.
packages_iscsi_lab() {
  packages_install 'iSCSI lab' tgt openssh-server openssh-client xfsprogs e2fsprogs
}

# A cluster of one host for CephFS; ceph-fuse is what our userspace mount is compared with.
packages_ceph_lab() {
  packages_install 'Ceph lab' ceph-mon ceph-mgr ceph-mgr-modules-core ceph-osd ceph-mds ceph-common \
    ceph-fuse fuse3 python3
}

# Filesystems and load on userspace disks.
packages_disk_lab() { packages_install 'disk lab' e2fsprogs fio fuse3 util-linux; }

# Compilers for the zoo's plugins that have another language's runtime inside: 740 MB, so only where
# the machine has none of its own.
packages_zoo() {
  local needed=()
  command -v rustc >/dev/null || needed+=(rustc)
  command -v go >/dev/null || [[ -x /usr/local/go/bin/go ]] || needed+=(golang-go)
  ((${#needed[@]} == 0)) || packages_install zoo "${needed[@]}"
}

# The guest of tests/vm; what it runs is this machine's userland, so its clients' tools are here too.
packages_vm() {
  packages_install VM qemu-system-x86 busybox-static cpio kmod xz-utils iproute2 nfs-common \
    nfs-kernel-server open-iscsi multipath-tools udev
}

# libFuzzer comes with clang's runtime.
packages_fuzz() { packages_install fuzz clang-14 libclang-rt-14-dev; }

packages_tidy() { packages_install tidy git clang-format-14 clang-tidy-14; }

# packages_missing NAME...: those that are not installed, one a line.
packages_missing() {
  local installed name
  # dpkg-query exits with 1 for a name that it does not know, which is an answer here.
  installed=$(dpkg-query -W -f '${db:Status-Status}=${Package}\n' "$@" 2>/dev/null || true)
  for name in "$@"; do
    grep -qxF "installed=$name" <<<"$installed" || printf '%s\n' "$name"
  done
}

# packages_install WHAT NAME...: WHAT is for the messages only.
packages_install() {
  local what=$1
  shift
  local missing
  mapfile -t missing < <(packages_missing "$@")
  ((${#missing[@]} == 0)) && return 0
  [[ $EUID -eq 0 ]] ||
    die "$what packages are missing and only root can install them: ${missing[*]}"
  command -v apt-get >/dev/null ||
    die "$what packages are missing and there is no apt-get (Debian 12 expected): ${missing[*]}"
  say "packages ($what): installing ${missing[*]}"
  packages_apt "${missing[@]}" || die "installing $what packages failed: ${missing[*]}"
  mapfile -t missing < <(packages_missing "$@")
  ((${#missing[@]} == 0)) || die "apt-get did not install: ${missing[*]}"
}

# A subshell, so that its trap takes the policy away again however the installation ends. One
# installation at a time, because the policy file is one for the machine.
packages_apt() (
  set -euo pipefail
  mkdir -p "${packages_lock_file%/*}"
  exec 8>"$packages_lock_file"
  flock -w "$packages_lock_wait_s_max" 8 ||
    die "another installation holds $packages_lock_file for more than $packages_lock_wait_s_max s"
  log=$(mktemp)
  trap 'rm -f "$log"; packages_policy_remove' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  packages_policy_put || exit 1
  export DEBIAN_FRONTEND=noninteractive
  apt=(apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
  if ! "${apt[@]}" update >"$log" 2>&1 </dev/null 8>&-; then
    tail -n 20 "$log" >&2
    exit 1
  fi
  if ! "${apt[@]}" install --no-install-recommends "$@" >"$log" 2>&1 </dev/null 8>&-; then
    tail -n 40 "$log" >&2
    exit 1
  fi
)

# Refreshes what apt knows of the archive, for a package that is got and not installed.
packages_refresh() {
  command -v apt-get >/dev/null || die "there is no apt-get (Debian 12 expected)"
  apt-get -q -o DPkg::Lock::Timeout=300 -o APT::Get::List-Cleanup=false update >/dev/null 2>&1 </dev/null
}

packages_policy_put() {
  [[ -e $packages_policy_file ]] && return 0
  printf '#!/bin/sh\n%s\nexit 101\n' "$packages_policy_mark" >"$packages_policy_file.gantry"
  chmod 755 "$packages_policy_file.gantry"
  # link(2) does not replace a file that somebody else made meanwhile.
  ln "$packages_policy_file.gantry" "$packages_policy_file" 2>/dev/null || true
  rm -f "$packages_policy_file.gantry"
}

# Removes only a policy that carries our mark, also one left by a run that was killed.
packages_policy_remove() {
  if grep -qsxF "$packages_policy_mark" "$packages_policy_file"; then
    rm -f "$packages_policy_file"
  fi
}
