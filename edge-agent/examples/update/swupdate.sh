#!/bin/sh
# Installs an update with SWUpdate (https://swupdate.org) into the copy that does not run, and starts the terminal anew.
#
# agent.toml:   [update.install]
#               swupdate = ["/usr/lib/muster/swupdate.sh"]
#
# The agent checked signature, lot, floor, size and digest of MUSTER_UPDATE_FILE before it runs this; SWUpdate checks the
# image's own signature once more, against the key that its daemon was started with (`swupdate -k`). The variables are those
# of rauc.sh; nothing else is in the environment.
#
# Exit 0 means: installed, the next start boots it. Anything else is reported as HOOK_FAILED, and the terminal stays as it
# was. This may run twice for one update, if the power fails in the middle.
#
# It runs as user muster inside of the agent's sandbox, where no copy can be written. So SWUpdate must run as a daemon
# (swupdate.service): this program hands the image over its control socket and waits for the result. Let group muster write
# to that socket, and keep it out of /tmp, which is private to the agent: CONFIG_SOCKET_CTRL_PATH="/run/swupdate/sockinstctrl".
set -eu

# Two copies of the root file system, as sw-description names them: install into the other one.
case "$(findmnt --noheadings --output LABEL /)" in
    rootfs-a) copy=copy-b ;;
    rootfs-b) copy=copy-a ;;
    *)
        echo "the root file system is neither rootfs-a nor rootfs-b" >&2
        exit 1
        ;;
esac

swupdate-client -v -e "stable,$copy" "$MUSTER_UPDATE_FILE"

# sw-description sets bootcount and upgrade_available, so that the boot loader falls back by itself. Clear them from the
# new system, once the agent beats there: `fw_setenv upgrade_available 0`.
#
# Restart when nobody is served: here soon. muster-restart.path (edge-agent/systemd) sees the file and restarts the terminal
# as root. That it cannot be asked for must not fail an update that is installed: the next start boots it, whenever that is.
touch /run/muster/restart-wanted || echo "installed; restart the terminal by hand" >&2
