#!/usr/bin/env bash
# Builds what every machine of the boot tests shares: the base root file system (squashfs), a kernel, a small initrd and
# the boot sectors. Needs root and the Debian mirror; no loop device. Cached by a hash of this folder's inputs.
#
#   build-base.sh FOLDER      FOLDER/{base.squashfs,vmlinuz,initrd.img,core.img,boot.img}
#
# The base has no version of its own: /slot, appended per image by make-image.sh, carries kernel, initrd, version and
# everything of ours, so that another image costs no second compression of the system.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$1
suite=${HOLDPOINT_BOOT_SUITE:-trixie}
mirror=${HOLDPOINT_BOOT_MIRROR:-} # empty = what debootstrap takes by itself
mkdir -p "$out"
work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root

if [ -n "${HOLDPOINT_BOOT_TREE:-}" ]; then
  cp -a "$HOLDPOINT_BOOT_TREE" "$root"
else
  debootstrap --variant=minbase --include=systemd,systemd-sysv,udev,dbus,nodejs,linux-image-cloud-amd64 \
    "$suite" "$root" ${mirror:+"$mirror"} > "$work/debootstrap.log" 2>&1 || { tail -20 "$work/debootstrap.log" >&2; exit 1; }
fi

# --- The kernel, and the modules that this machine has devices for
kernel=$(basename "$root"/usr/lib/modules/*)
cp "$root/boot/vmlinuz-$kernel" "$out/vmlinuz"
modules=$work/modules
mkdir -p "$modules"
for name in virtio_blk squashfs failover net_failover virtio_net watchdog i6300esb; do
  found=$(find "$root/usr/lib/modules/$kernel" -name "$name.ko*" | head -1)
  case $found in
  *.xz) xz -dc "$found" > "$modules/$name.ko" ;;
  *.zst) zstd -qdc "$found" > "$modules/$name.ko" ;;
  ?*) cp "$found" "$modules/$name.ko" ;;
  *) echo "the kernel has no module $name" >&2; exit 1 ;;
  esac
done

# --- A small initrd: finds root=, mounts it read-only, goes on with its init
initrd=$work/initrd
mkdir -p "$initrd"/{bin,dev,proc,sys,root,modules}
cp /bin/busybox "$initrd/bin/busybox"
cp "$modules/virtio_blk.ko" "$modules/squashfs.ko" "$initrd/modules/"
install -m 755 "$here/initrd-init.sh" "$initrd/init"
(cd "$initrd" && find . | LC_ALL=C sort | busybox cpio -o -H newc 2> /dev/null | gzip -9n) > "$out/initrd.img"

# --- The system, without what no update needs
rm -rf "$root"/usr/share/{doc,man,info,locale,lintian,bug,zoneinfo,perl5,i18n,bash-completion,zsh,fish,common-licenses}
rm -rf "$root"/usr/share/{initramfs-tools,gcc,grub,terminfo,maven-repo} "$root"/usr/lib/{modules,gcc,initramfs-tools,apt,dpkg} "$root"/usr/lib/systemd/system/systemd-hostnamed.* \
  "$root"/usr/lib/tmpfiles.d/polkit* "$root"/usr/share/dbus-1/system.d/*PolicyKit* "$root"/usr/share/polkit-1
rm -rf "$root"/{proc,sys,dev,var,tmp,run}/* "$root"/boot/* "$root"/{initrd.img,vmlinuz}* "$root"/usr/lib/udev/hwdb.d
rm -rf "$root"/usr/lib/x86_64-linux-gnu/{perl*,gconv,libapt*,libdb-5.3*,libsqlite3*} "$root"/usr/bin/perl* "$root"/usr/lib/udev/hwdb.bin
rm -rf "$root"/usr/share/nodejs/corepack "$root"/usr/{bin,sbin}/grub-* "$root"/usr/bin/{sqv,openssl,localedef,dpkg*,apt*} "$root"/usr/sbin/tc \
  "$root"/usr/lib/systemd/systemd-networkd* "$root"/usr/lib/x86_64-linux-gnu/lib{gio,glib,gobject}-2.0* "$root"/usr/lib/x86_64-linux-gnu/libmvec*
mkdir -p "$root/usr/lib/modules/$kernel"
cp "$modules"/*.ko "$root/usr/lib/modules/$kernel/"
chroot "$root" depmod "$kernel" 2> /dev/null
cp /bin/busybox "$root/usr/bin/busybox"
for applet in ip blockdev killall; do
  [ -e "$root/usr/bin/$applet" ] || [ -e "$root/usr/sbin/$applet" ] || ln -s busybox "$root/usr/bin/$applet"
done
cp -r "$here/rootfs/." "$root/"
chown -R 0:0 "$root/etc" "$root/usr/lib/systemd"

# Everything of ours comes with the slot.
mkdir -p "$root"/slot "$root"/var/lib/mender "$root"/boot/env "$root"/usr/{bin,lib/holdpoint} \
  "$root"/usr/share/mender/{modules/v3,identity,inventory} "$root"/etc/{mender,holdpoint}
rmdir "$root/slot"
ln -sfn /slot/init "$root/usr/sbin/init"
for program in holdpointd holdpoint holdpoint-flash; do
  ln -s "/slot/programs/$program.js" "$root/usr/lib/holdpoint/$program.js"
  ln -s "/usr/lib/holdpoint/$program.js" "$root/usr/bin/$program"
done
ln -s /slot/programs/trial-boot "$root/usr/lib/holdpoint/trial-boot"
for program in grub-mender-grubenv-print grub-mender-grubenv-set; do
  ln -s "/slot/programs/$program" "$root/usr/bin/$program"
done
ln -s /slot/programs/rootfs-image "$root/usr/share/mender/modules/v3/rootfs-image"
ln -s /slot/programs/mender-device-identity "$root/usr/share/mender/identity/mender-device-identity"
rmdir "$root/etc/mender" "$root/etc/holdpoint" && ln -s /slot/etc/mender "$root/etc/mender" && ln -s /slot/etc/holdpoint "$root/etc/holdpoint"
ln -sf /slot/etc/mender_grubenv.config "$root/etc/mender_grubenv.config"
mkdir -p "$root/usr/share/dbus-1/system.d"
for policy in io.holdpoint.Update1 io.mender.UpdateManager io.mender.AuthenticationManager; do
  ln -s "/slot/dbus/$policy.conf" "$root/usr/share/dbus-1/system.d/$policy.conf"
done
# Our own units: linked one by one, so that systemd reads them where it reads those of packages.
for unit in holdpointd.service holdpoint-trial-boot.service holdpoint-trial-boot.timer; do
  ln -s "/slot/units/$unit" "$root/usr/lib/systemd/system/$unit"
done
: > "$root/etc/machine-id"
echo boot-machine > "$root/etc/hostname"
enable() { mkdir -p "$root/etc/systemd/system/$1.wants" && ln -sf "/usr/lib/systemd/system/$2" "$root/etc/systemd/system/$1.wants/$2"; }
enable multi-user.target holdpointd.service
enable timers.target holdpoint-trial-boot.timer
enable sysinit.target machine-network.service
enable sysinit.target machine-shell.service
enable multi-user.target machine-health.service
for unit in systemd-journal-catalog-update systemd-update-done systemd-hwdb-update ldconfig systemd-firstboot getty@tty1 serial-getty@ttyS0 \
  systemd-networkd systemd-timesyncd systemd-resolved systemd-pstore systemd-random-seed systemd-machine-id-commit systemd-journal-flush \
  e2scrub_reap getty-static console-getty systemd-boot-random-seed systemd-tpm2-setup systemd-tpm2-setup-early systemd-update-utmp \
  systemd-update-utmp-runlevel systemd-ask-password-console systemd-binfmt systemd-modules-load modprobe@drm modprobe@efi_pstore modprobe@fuse \
  modprobe@configfs modprobe@dm_mod modprobe@loop systemd-sysctl systemd-user-sessions systemd-pcrextend systemd-hostnamed; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit.service"
done
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer systemd-tmpfiles-clean.timer \
  dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount sys-kernel-config.mount \
  proc-sys-fs-binfmt_misc.automount; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
ln -sf /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
# Under emulation each of them costs part of a second at every boot; only the one for fstab has anything to do.
find "$root/usr/lib/systemd/system-generators" "$root/usr/lib/systemd/user-generators" -mindepth 1 \
  ! -name systemd-fstab-generator -delete 2> /dev/null || true

rm -f "$out/base.squashfs"
mksquashfs "$root" "$out/base.squashfs" -comp gzip -Xcompression-level 6 -noappend -no-progress -quiet -all-root -mkfs-time 0 \
  > /dev/null 2> "$work/squashfs.log" || { cat "$work/squashfs.log" >&2; exit 1; }

# --- Boot sectors: GRUB in the gap before the first partition
grub=/usr/lib/grub/i386-pc
grub-mkimage -O i386-pc -d $grub -p '(hd0,msdos1)/grub' -o "$out/core.img" \
  biosdisk part_msdos ext2 fat squash4 loadenv linux normal configfile test echo reboot sleep true serial terminal
cp $grub/boot.img "$out/boot.img"
