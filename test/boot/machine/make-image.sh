#!/usr/bin/env bash
# Makes one root image: the base with a /slot appended, uncompressed, in about a second.
#
#   make-image.sh BASE-FOLDER PROGRAMS-FOLDER VERSION VARIANT IMAGE
#
# Variants: good; no-init (init ends at once: the kernel panics), no-kernel (no kernel that GRUB can load), no-service
# (the update service cannot start), unhealthy (its health check says no).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../../.." && pwd)
base=$1 programs=$2 version=$3 variant=$4 image=$5
work=$(mktemp -d "$image.XXXXXX")
trap 'rm -rf "$work"' EXIT
slot=$work/slot
mkdir -p "$slot"/{programs,units,dbus,etc/mender/scripts,etc/holdpoint}
cp "$base/vmlinuz" "$base/initrd.img" "$slot/"
echo "$version" > "$slot/version"
echo 2 > "$slot/etc/mender/scripts/version"
ln -s /usr/lib/systemd/systemd "$slot/init"
cp "$programs"/{holdpointd,holdpoint,holdpoint-flash}.js "$slot/programs/"
cp "$programs/package.json" "$slot/programs/"
cp "$repository"/packaging/grub/grub-mender-grubenv-* "$repository/packaging/modules/rootfs-image" "$repository/packaging/systemd/trial-boot" "$slot/programs/"
install -m 755 "$here/device-identity.sh" "$slot/programs/mender-device-identity"
cp "$repository"/dbus-policy/*.conf "$slot/dbus/"
cp "$repository"/packaging/systemd/{holdpointd.service,holdpoint-trial-boot.*} "$slot/units/"
echo 'ENV_DIR=/boot/env/grub' > "$slot/etc/mender_grubenv.config"
echo '{ "UpdatePollIntervalSeconds": 3, "InventoryPollIntervalSeconds": 3600, "RetryPollIntervalSeconds": 3, "DaemonLogLevel": "info" }' > "$slot/etc/mender/mender.conf"
echo '{ "Access": { "polkit": "off" } }' > "$slot/etc/holdpoint/holdpoint.json"
case $variant in
good) ;;
no-init) ln -sfn /usr/bin/false "$slot/init" ;;
no-kernel) head -c 4096 /dev/zero > "$slot/vmlinuz" ;;
no-service) echo 'throw new Error("this version is broken");' > "$slot/programs/holdpointd.js" ;;
unhealthy)
  echo '{ "Access": { "polkit": "off" }, "Health": { "checkers": ["machine"], "deadline": 300 } }' > "$slot/etc/holdpoint/holdpoint.json"
  : > "$slot/is-unhealthy"
  ;;
*) echo "make-image.sh: unknown variant $variant" >&2; exit 1 ;;
esac
cp --reflink=auto "$base/base.squashfs" "$image"
mksquashfs "$slot" "$image" -keep-as-directory -noI -noD -noF -noX -all-root -no-progress -quiet -no-recovery > /dev/null 2>&1
