SUMMARY = "Update service that lets the people and programs on a device decide when"
DESCRIPTION = "Installs Mender artifacts with Mender's update modules and state scripts, and publishes every state and every \
wait on D-Bus."
HOMEPAGE = "https://holdpoint.io"
SECTION = "base"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

# The release archive that `npm run package` makes: bundles, manual pages and completions are in it, so that nothing is
# fetched from a registry here. Put it into a folder of FILESEXTRAPATHS, or name your mirror.
SRC_URI = "file://holdpoint-${PV}.tar.xz"

inherit systemd update-rc.d useradd

# polkit: its actions; server: the development server; examples: man pages, examples and texts; mender-links: the names
# mender, mender-update and mender-auth.
HOLDPOINT_SWITCHES ?= "mender-links"
PACKAGECONFIG ?= "${HOLDPOINT_SWITCHES}"
PACKAGECONFIG[polkit] = ",,,polkit"
PACKAGECONFIG[server] = ""
PACKAGECONFIG[examples] = ""
PACKAGECONFIG[mender-links] = ""

do_configure[noexec] = "1"
do_compile[noexec] = "1"

def switch(d, name):
    return "1" if bb.utils.contains("PACKAGECONFIG", name, True, False, d) else "0"

def feature(d, name):
    return "1" if bb.utils.contains("DISTRO_FEATURES", name, True, False, d) else "0"

do_install() {
    # The same list of files as the Debian package has: packaging/install.sh.
    DESTDIR="${D}" NODE="${bindir}/node" UNIT_DIR="${systemd_system_unitdir}" \
        WITH_SYSTEMD="${@feature(d, 'systemd')}" WITH_SYSVINIT="${@feature(d, 'sysvinit')}" \
        WITH_POLKIT="${@switch(d, 'polkit')}" WITH_SERVER="${@switch(d, 'server')}" \
        WITH_DOC="${@switch(d, 'examples')}" WITH_MENDER_LINKS="${@switch(d, 'mender-links')}" \
        "${S}/packaging/install.sh"

    if [ -n "${HOLDPOINT_JSON}" ]; then
        install -m 0644 "${HOLDPOINT_JSON}" "${D}${sysconfdir}/holdpoint/holdpoint.json"
    fi
    if [ -n "${HOLDPOINT_SERVER_URL}" ]; then
        printf '{\n  "ServerURL": "%s"' "${HOLDPOINT_SERVER_URL}" > "${D}${sysconfdir}/mender/mender.conf"
        [ -z "${HOLDPOINT_TENANT_TOKEN}" ] ||
            printf ',\n  "TenantToken": "%s"' "${HOLDPOINT_TENANT_TOKEN}" >> "${D}${sysconfdir}/mender/mender.conf"
        [ -z "${HOLDPOINT_UPDATE_POLL}" ] ||
            printf ',\n  "UpdatePollIntervalSeconds": %s' "${HOLDPOINT_UPDATE_POLL}" >> "${D}${sysconfdir}/mender/mender.conf"
        printf '\n}\n' >> "${D}${sysconfdir}/mender/mender.conf"
        chmod 0600 "${D}${sysconfdir}/mender/mender.conf"
    fi
    if [ -n "${HOLDPOINT_ARTIFACT_NAME}" ]; then
        echo "artifact_name=${HOLDPOINT_ARTIFACT_NAME}" > "${D}${sysconfdir}/mender/artifact_info"
    fi
    install -d "${D}${localstatedir}/lib"
    if [ -n "${HOLDPOINT_DATASTORE_LINK}" ]; then
        # The partition is not there yet: the device type goes into the image, and the link leads to the partition.
        ln -s "${HOLDPOINT_DATASTORE_LINK}" "${D}${localstatedir}/lib/mender"
        install -d "${D}${HOLDPOINT_DATASTORE_LINK}"
        echo "device_type=${HOLDPOINT_DEVICE_TYPE}" > "${D}${HOLDPOINT_DATASTORE_LINK}/device_type"
    else
        install -d "${D}${localstatedir}/lib/mender"
        echo "device_type=${HOLDPOINT_DEVICE_TYPE}" > "${D}${localstatedir}/lib/mender/device_type"
    fi
}

HOLDPOINT_DEVICE_TYPE ?= "${MACHINE}"
# It has the name of the machine in it.
PACKAGE_ARCH = "${MACHINE_ARCH}"

USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system holdpoint"

SYSTEMD_SERVICE:${PN} = "holdpointd.service"
SYSTEMD_AUTO_ENABLE = "enable"
INITSCRIPT_NAME = "holdpointd"
INITSCRIPT_PARAMS = "defaults 95 05"

FILES:${PN} += "${prefix}/lib/holdpoint ${prefix}/lib/sysusers.d ${prefix}/lib/tmpfiles.d ${datadir}/mender ${datadir}/dbus-1 \
    ${datadir}/polkit-1 ${datadir}/metainfo ${systemd_system_unitdir} ${HOLDPOINT_DATASTORE_LINK} ${localstatedir}/lib/mender"
FILES:${PN}-bash-completion += "${datadir}/bash-completion"
PACKAGES =+ "${PN}-bash-completion ${PN}-zsh-completion ${PN}-fish-completion"
FILES:${PN}-zsh-completion = "${datadir}/zsh"
FILES:${PN}-fish-completion = "${datadir}/fish"
CONFFILES:${PN} = "${sysconfdir}/holdpoint/holdpoint.json ${sysconfdir}/mender/mender.conf"

RDEPENDS:${PN} = "nodejs dbus util-linux-flock"
RRECOMMENDS:${PN} = "xz zstd lmdb ca-certificates"
RPROVIDES:${PN} = "mender-client mender-update mender-auth"
RCONFLICTS:${PN} = "mender-client mender-update mender-auth"
RREPLACES:${PN} = "mender-client mender-update mender-auth"
