#!/bin/busybox sh
# Mounts root= read-only and goes on with init=. Whatever fails ends in a panic, and so, by panic=, in a reboot.
/bin/busybox mkdir -p /dev /proc /sys /root
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
for module in /modules/*.ko; do /bin/busybox insmod "$module"; done
root= init=/sbin/init
for word in $(/bin/busybox cat /proc/cmdline); do
  case $word in
  root=*) root=${word#root=} ;;
  init=*) init=${word#init=} ;;
  esac
done
tries=0
while [ ! -b "$root" ] && [ $tries -lt 100 ]; do
  /bin/busybox usleep 50000
  tries=$((tries + 1))
done
/bin/busybox mount -o ro -t squashfs "$root" /root || exit 1
/bin/busybox umount /proc
/bin/busybox mount -o move /dev /root/dev
exec /bin/busybox switch_root /root "$init"
