#!/usr/bin/env bash
# `npm run package`: own set-up, then dist/holdpoint_VERSION_all.deb and the release archive dist/holdpoint-VERSION.tar.xz that
# the Yocto recipe is built from. The same sources make the same bytes (SOURCE_DATE_EPOCH; default: the last commit).
#   PACKAGE_VERSION=…  another version of the package, for tests of upgrades
set -euo pipefail
cd "$(dirname "$0")/.."
HOLDPOINT_BASE=scripts/packages-build.txt scripts/setup.sh
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date -d "$(sed -n 's/^ -- .*>  //p' packaging/debian/changelog | head -1)" +%s)}
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 TZ=UTC
umask 022
upstream=$(node -p 'require("./package.json").version')
version=${PACKAGE_VERSION:-$(sed -n '1s/.*(\(.*\)).*/\1/p' packaging/debian/changelog)}
scripts/build-files.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root doc=$work/root/usr/share/doc/holdpoint
DESTDIR=$root packaging/install.sh
find "$root/usr/share/man" -type f -exec gzip -9n {} +
find "$root/usr/share/man" -type l | while read -r page; do
  ln -s "$(readlink "$page").gz" "$page.gz" && rm "$page"
done
gzip -9n < CHANGELOG.md > "$doc/changelog.gz"
gzip -9n < packaging/debian/changelog > "$doc/changelog.Debian.gz"
node scripts/bundled-licenses.mjs packaging/debian/copyright > "$doc/copyright"
install -m 644 packaging/debian/README.Debian "$doc/"
install -D -m 644 packaging/debian/lintian-overrides "$root/usr/share/lintian/overrides/holdpoint"

mkdir "$root/DEBIAN"
install -m 755 packaging/debian/{postinst,prerm,postrm} "$root/DEBIAN/"
install -m 644 packaging/debian/conffiles "$root/DEBIAN/"
size=$(du -k -s --apparent-size --exclude DEBIAN "$root" | cut -f1)
sed "s/@VERSION@/$version/; s/@SIZE@/$size/" packaging/debian/control.in > "$root/DEBIAN/control"
(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\n' | sort | xargs -d '\n' md5sum) > "$root/DEBIAN/md5sums"
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz --build "$root" "dist/holdpoint_${version}_all.deb" > /dev/null

tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
  --transform "s,^,holdpoint-$upstream/," --exclude='*.deb' --exclude='*.tar.xz' --exclude='packaging/stubs' --exclude='__pycache__' \
  LICENSE README.md CHANGELOG.md dbus-policy dist/{holdpointd,holdpoint,holdpoint-flash,holdpoint-server}.js dist/package.json dist/man \
  dist/completions docs/{recipes,ab-updates}.md examples packaging src/adapters/dbus/*.xml |
  xz -T1 -6 > "dist/holdpoint-$upstream.tar.xz"
echo "dist/holdpoint_${version}_all.deb"
echo "dist/holdpoint-$upstream.tar.xz"
