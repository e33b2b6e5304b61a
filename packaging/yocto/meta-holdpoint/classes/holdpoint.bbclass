# Settings of Holdpoint for an image or a distribution: `INHERIT += "holdpoint"` in local.conf or the distribution's
# configuration, then:
#
#   HOLDPOINT_SERVER_URL       the Mender server; empty (default) = no server, updates come over the bus
#   HOLDPOINT_TENANT_TOKEN     of a hosted server
#   HOLDPOINT_DEVICE_TYPE      default: the machine
#   HOLDPOINT_ARTIFACT_NAME    of the image, as the server knows it
#   HOLDPOINT_UPDATE_POLL      seconds between two looks for an update; empty = Mender's default
#   HOLDPOINT_JSON             a file with the device maker's holdpoint.json; empty = all defaults
#   HOLDPOINT_DATASTORE_LINK   where /var/lib/mender leads to, on the data partition; empty = it is a folder
#   HOLDPOINT_SWITCHES         of the recipe: any of polkit server examples mender-links
HOLDPOINT_SERVER_URL ?= ""
HOLDPOINT_TENANT_TOKEN ?= ""
HOLDPOINT_DEVICE_TYPE ?= "${MACHINE}"
HOLDPOINT_ARTIFACT_NAME ?= "${IMAGE_BASENAME}"
HOLDPOINT_UPDATE_POLL ?= ""
HOLDPOINT_JSON ?= ""
HOLDPOINT_DATASTORE_LINK ?= "/data/mender"
HOLDPOINT_SWITCHES ?= "mender-links"
IMAGE_INSTALL:append = " holdpoint"

python () {
    if d.getVar("HOLDPOINT_TENANT_TOKEN") and not d.getVar("HOLDPOINT_SERVER_URL"):
        bb.fatal("HOLDPOINT_TENANT_TOKEN is set, and HOLDPOINT_SERVER_URL is not: whose tenant?")
}
