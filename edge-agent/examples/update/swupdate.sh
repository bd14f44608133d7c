#!/bin/sh
# Installs an update with SWUpdate (https://swupdate.org) into the copy that does not run, and starts the terminal anew.
#
# agent.toml:   [update.install]
#               swupdate = ["/usr/lib/muster/swupdate.sh"]
#
# The agent checked signature, lot, floor, size and digest of MUSTER_UPDATE_FILE before it runs this; SWUpdate checks the
# image's own signature once more, against the key that its daemon was started with (`-k`). The variables are those of
# rauc.sh; nothing else is in the environment.
#
# Exit 0 means: installed, the next start boots it. Anything else is reported as HOOK_FAILED, and the terminal stays as it
# was. This may run twice for one update, if the power fails in the middle.
#
# It runs as user muster inside of the agent's sandbox, where no copy can be written. So SWUpdate must run as a daemon: this
# program hands the image over its control socket and waits for the result. What the daemon needs:
#
# - its sockets in /run/swupdate, since the agent's /tmp is its own: `ListenStream=/run/swupdate/sockinstctrl` and
#   `/run/swupdate/swupdateprog` in swupdate.socket, or CONFIG_SOCKET_CTRL_PATH and CONFIG_SOCKET_PROGRESS_PATH when it is built;
# - user muster in the group of these sockets (`SocketMode=0660`, `SocketGroup=swupdate`; in the agent's unit
#   `SupplementaryGroups=swupdate`), and nobody else: who may write there may install any signed image, an old one too;
# - to be told which selections it takes from there, else each is rejected (since 2022.12):
#   `swupdate -k … -q stable,copy-a -q stable,copy-b`.
set -eu

# The two copies of the root file system, by their devices: a label is told to root alone, or where udev runs.
copy_a=/dev/mmcblk0p2
copy_b=/dev/mmcblk0p3

# Install into the other one, as sw-description names it.
case "$(findmnt --noheadings --output SOURCE /)" in
    "$copy_a") copy=copy-b ;;
    "$copy_b") copy=copy-a ;;
    *)
        echo "the root file system is neither $copy_a nor $copy_b" >&2
        exit 1
        ;;
esac

# Where the client looks for the socket, unless its path was built in.
export TMPDIR=/run/swupdate
swupdate-client -v -e "stable,$copy" "$MUSTER_UPDATE_FILE"

# sw-description sets bootcount and upgrade_available, so that the boot loader falls back by itself. Clear them from the
# new system, once the agent beats there: `fw_setenv upgrade_available 0`.
#
# Restart when nobody is served: here soon. muster-restart.path (edge-agent/systemd) sees the file and restarts the terminal
# as root. That it cannot be asked for must not fail an update that is installed: the next start boots it, whenever that is.
touch /run/muster/restart-wanted || echo "installed; restart the terminal by hand" >&2
