#!/bin/sh
# Puts everything where it belongs on a device, below DESTDIR: for the Debian package, the Yocto recipe, Buildroot, and by
# hand. Run from the top of a built tree (npm run build:files) or of the release archive.
#   DESTDIR=/some/root packaging/install.sh
# Switches (1 or 0): WITH_SYSTEMD=1 WITH_SYSVINIT=0 WITH_POLKIT=1 WITH_SERVER=1 WITH_DOC=1 WITH_MENDER_LINKS=1
# NODE: the interpreter in the first line of the programs.
set -eu
: "${DESTDIR:?is not set: where to?}" "${NODE:=/usr/bin/node}"
: "${WITH_SYSTEMD:=1}" "${WITH_SYSVINIT:=0}" "${WITH_POLKIT:=1}" "${WITH_SERVER:=1}" "${WITH_DOC:=1}" "${WITH_MENDER_LINKS:=1}"
: "${UNIT_DIR:=/lib/systemd/system}"
cd "$(dirname "$0")/.."

put() { # put MODE TARGET SOURCE…: TARGET is a folder
    mode=$1 target=$2
    shift 2
    install -d "$DESTDIR$target"
    for source in "$@"; do install -m "$mode" "$source" "$DESTDIR$target/"; done
}
link() { # link TARGET NAME
    install -d "$DESTDIR$(dirname "$2")"
    ln -sf "$1" "$DESTDIR$2"
}
program() { # program BUNDLE NAME
    install -d "$DESTDIR/usr/lib/holdpoint"
    { echo "#!$NODE" && tail -n +2 "dist/$1"; } >"$DESTDIR/usr/lib/holdpoint/$1"
    chmod 755 "$DESTDIR/usr/lib/holdpoint/$1"
    link "../lib/holdpoint/$1" "/usr/bin/$2"
}

program holdpointd.js holdpointd
program holdpoint.js holdpoint
program holdpoint-flash.js holdpoint-flash
put 644 /usr/lib/holdpoint dist/package.json
[ "$WITH_SERVER" = 0 ] || program holdpoint-server.js holdpoint-server
if [ "$WITH_MENDER_LINKS" = 1 ]; then
    for name in mender mender-update mender-auth; do link ../lib/holdpoint/holdpoint.js "/usr/bin/$name"; done
fi

put 644 /etc/holdpoint packaging/config/holdpoint.json packaging/config/README
install -d "$DESTDIR/etc/holdpoint/conf.d" "$DESTDIR/etc/holdpoint/conditions.d" "$DESTDIR/etc/mender/scripts"
put 755 /usr/share/mender/identity packaging/identity/mender-device-identity
put 755 /usr/share/mender/inventory packaging/inventory/mender-inventory-*
install -d "$DESTDIR/usr/share/mender/modules/v3"
if [ -d packaging/modules ]; then
    for module in packaging/modules/*; do [ ! -f "$module" ] || put 755 /usr/share/mender/modules/v3 "$module"; done
fi
# Not in PATH: where they are, the module rootfs-image takes GRUB for the boot loader (docs/ab-updates.md).
put 755 /usr/lib/holdpoint/grub packaging/grub/grub-mender-grubenv-*
put 644 /usr/lib/holdpoint/grub packaging/grub/grub.cfg

put 644 /usr/share/dbus-1/system.d dbus-policy/*.conf
put 644 /usr/share/dbus-1/system-services packaging/dbus/io.holdpoint.Update1.service
put 644 /usr/share/dbus-1/interfaces src/adapters/dbus/*.xml
[ "$WITH_POLKIT" = 0 ] || put 644 /usr/share/polkit-1/actions packaging/polkit/io.holdpoint.update1.policy
put 644 /usr/lib/sysusers.d packaging/sysusers/holdpoint.conf
put 644 /usr/lib/tmpfiles.d packaging/tmpfiles/holdpoint.conf
if [ "$WITH_SYSTEMD" = 1 ]; then
    for unit in packaging/systemd/*.service packaging/systemd/*.timer; do put 644 "$UNIT_DIR" "$unit"; done
    [ ! -f packaging/systemd/trial-boot ] || put 755 /usr/lib/holdpoint packaging/systemd/trial-boot
fi
[ "$WITH_SYSVINIT" = 0 ] || put 755 /etc/init.d packaging/sysvinit/holdpointd
put 644 /usr/share/metainfo packaging/metainfo/io.holdpoint.Update1.metainfo.xml

put 644 /usr/share/bash-completion/completions dist/completions/holdpoint
put 644 /usr/share/zsh/vendor-completions dist/completions/_holdpoint
put 644 /usr/share/fish/vendor_completions.d dist/completions/holdpoint.fish
if [ "$WITH_DOC" = 1 ]; then
    for page in dist/man/*; do
        case $page in *-server.1) [ "$WITH_SERVER" = 1 ] || continue ;; esac
        put 644 "/usr/share/man/man${page##*.}" "$page"
    done
    if [ "$WITH_MENDER_LINKS" = 1 ]; then
        for name in mender mender-update mender-auth; do link holdpoint.1 "/usr/share/man/man1/$name.1"; done
    fi
    put 644 /usr/share/doc/holdpoint README.md docs/recipes.md docs/ab-updates.md
    put 644 /usr/share/doc/holdpoint/examples packaging/systemd/images-only.conf packaging/polkit/examples/*
    put 644 /usr/share/doc/holdpoint/examples/dbus-policy-strict dbus-policy/strict/*
    # The frontends to copy, as they lie in the sources: each finds what it shares with the others beside it.
    put 644 /usr/share/doc/holdpoint/examples examples/README.md examples/LICENSE
    for part in c catalogue gtk4 notify python qt6 shell web; do
        for file in examples/"$part"/*; do
            if [ -x "$file" ]; then mode=755; else mode=644; fi
            put "$mode" "/usr/share/doc/holdpoint/examples/$part" "$file"
        done
    done
fi
