#!/bin/sh
# Installs an update with SWUpdate (https://swupdate.org) into the copy that does not run, and starts the terminal anew.
#
# agent.toml:   [update.install]
#               swupdate = ["/usr/lib/muster/swupdate.sh"]
#
# The agent checked signature, lot, floor, size and digest of MUSTER_UPDATE_FILE before it runs this; SWUpdate checks the
# image's own signature once more, against SWUPDATE_KEY. The variables are those of rauc.sh.
#
# Exit 0 means: installed, the next start boots it. Anything else is reported as HOOK_FAILED, and the terminal stays as it
# was. This may run twice for one update, if the power fails in the middle.
set -eu

SWUPDATE_KEY="${SWUPDATE_KEY:-/etc/swupdate/public.pem}"

# Two copies of the root file system, as sw-description names them: install into the other one.
case "$(findmnt --noheadings --output LABEL /)" in
    rootfs-a) copy=copy-b ;;
    rootfs-b) copy=copy-a ;;
    *)
        echo "the root file system is neither rootfs-a nor rootfs-b" >&2
        exit 1
        ;;
esac

swupdate -v -k "$SWUPDATE_KEY" -e "stable,$copy" -i "$MUSTER_UPDATE_FILE"

# sw-description sets bootcount and upgrade_available, so that the boot loader falls back by itself. Clear them from the
# new system, once the agent beats there: `fw_setenv upgrade_available 0`.
#
# Restart when nobody is served: here at once, a little later, so that the agent can write down that it is installed.
systemd-run --on-active=15 systemctl reboot
