# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What prepare and run agree on: where the guest's kernel lies. To be sourced, after say.sh.
#
# The kernel lies in a cache of the user's rather than in build/, because it is 400 MB, belongs to no
# preset, and is the same for every copy of the tree.

vm_cache=${GANTRY_VM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/gantry-vm}

# What the initrd needs to mount the outer machine's root; all else is loaded from there.
vm_boot_modules=(virtio_pci 9p 9pnet_virtio overlay virtio_console)

# vm_initrd DIR: the initrd's path; its name changes with what is put inside.
vm_initrd() {
  local sum
  sum=$(printf '%s\n' "${vm_boot_modules[@]}" | cat - "$vm_dir/initrd-init" | sha256sum)
  printf '%s/initrd-%s.cpio\n' "$1" "${sum:0:12}"
}
