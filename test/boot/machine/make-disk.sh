#!/usr/bin/env bash
# Makes a disk by writing its parts at their places: no loop device, no mount.
#
#   make-disk.sh BASE-FOLDER ROOT-IMAGE DATA-FOLDER DISK
#
# MiB: 0 boot sectors | 1 boot partition (GRUB, its environment) | 9 slot A, holds ROOT-IMAGE | 121 slot B, empty | 233 data | 297
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../../.." && pwd)
base=$1 image=$2 data=$3 disk=$4
work=$(mktemp -d "$disk.XXXXXX")
trap 'rm -rf "$work"' EXIT
truncate -s 297M "$disk"
sfdisk -q "$disk" << 'TABLE'
label: dos
label-id: 0x484f4c44
start=2048, size=16384, type=83, bootable
start=18432, size=229376, type=83
start=247808, size=229376, type=83
start=477184, size=131072, type=83
TABLE
dd if="$base/boot.img" of="$disk" bs=440 count=1 conv=notrunc status=none
dd if="$base/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none

boot=$work/boot
mkdir -p "$boot"/grub/mender_grubenv{1,2}
cp "$repository/packaging/grub/grub.cfg" "$here/holdpoint-device.cfg" "$boot/grub/"
{
  printf '# GRUB Environment Block\n'
  printf '%s\n' mender_env_begin=00000000 mender_boot_part=2 mender_boot_part_hex=2 upgrade_available=0 bootcount=0 \
    mender_check_saveenv_canary=1 mender_saveenv_canary=0 mender_env_end=00000000
  head -c 1024 /dev/zero | tr '\0' '#'
} | head -c 1024 > "$boot/grub/mender_grubenv1/env"
cp "$boot/grub/mender_grubenv1/env" "$boot/grub/mender_grubenv2/env"
mke2fs -q -t ext2 -O none,filetype -b 1024 -E root_owner=0:0 -d "$boot" "$work/boot.ext2" 8M
mke2fs -q -t ext4 -E root_owner=0:0 -d "$data" "$work/data.ext4" 64M
dd if="$work/boot.ext2" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$image" of="$disk" bs=1M seek=9 conv=notrunc,sparse status=none
dd if="$work/data.ext4" of="$disk" bs=1M seek=233 conv=notrunc,sparse status=none
