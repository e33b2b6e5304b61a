#!/bin/sh
# SPDX-License-Identifier: 0BSD
# wait-for-quiet.sh COMMAND… : no update installs or reboots anything while the command runs.
# The hold belongs to this script's command line and ends with it, whatever happens to it.
exec holdpoint hold ArtifactInstall_Enter,ArtifactReboot_Enter --why "busy: $1" -- "$@"
