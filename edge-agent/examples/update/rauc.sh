#!/bin/sh
# Installs an update with RAUC (https://rauc.io) into the slot that does not run, and starts the terminal anew.
#
# agent.toml:   [update.install]
#               rauc = ["/usr/lib/muster/rauc.sh"]
#
# The agent checked signature, lot, floor, size and digest of MUSTER_UPDATE_FILE before it runs this. RAUC checks the
# bundle's own signature once more, against the keyring of its system.conf.
#
# Told by the agent, in the environment:
#   MUSTER_UPDATE_FILE      the bundle            MUSTER_UPDATE_KIND     rauc
#   MUSTER_UPDATE_FIRMWARE  version offered       MUSTER_UPDATE_RUNNING  version that runs
#   MUSTER_UPDATE_ROLLOUT   rollout id            MUSTER_UPDATE_SIZE, MUSTER_UPDATE_SHA384
#
# Exit 0 means: installed, the next start boots it. Anything else is reported as HOOK_FAILED, and the terminal stays as it
# was. This may run twice for one update, if the power fails in the middle: RAUC begins with the inactive slot anew.
#
# It runs as user muster inside of the agent's sandbox, where no slot can be written. So `rauc` must be built with its
# D-Bus service (the default; on Debian the package rauc-service): this program only asks, rauc.service writes as root. As
# it is shipped, the D-Bus policy de.pengutronix.rauc.conf lets every user ask. Let user muster and root alone, or any app on
# the terminal can install an old bundle past the agent's floor: `<deny send_destination="de.pengutronix.rauc"/>` under
# `<policy context="default">`, and the `<allow …/>` of it under `<policy user="muster">` and `<policy user="root">`.
set -eu

# RAUC makes the bundle root's before it looks at it, so that nobody alters it meanwhile, and leaves what the group may. The
# agent must read it once more if the power fails in the middle, and this then runs on what is root's already.
chmod g+r "$MUSTER_UPDATE_FILE" 2>/dev/null || true
# RAUC wants to see a file name that ends in .raucb only on some versions; a link costs nothing.
bundle="${MUSTER_UPDATE_FILE}.raucb"
ln -sf "$MUSTER_UPDATE_FILE" "$bundle"
trap 'rm -f "$bundle"' EXIT

rauc install "$bundle"

# The boot loader tries the new slot and falls back by itself if it does not come up (RAUC: boot attempts). Mark it good
# from the new system, once the agent beats there: `rauc status mark-good`, by whom the policy lets.
#
# Restart when nobody is served: here soon. muster-restart.path (edge-agent/systemd) sees the file and restarts the terminal
# as root. That it cannot be asked for must not fail an update that is installed: the next start boots it, whenever that is.
touch /run/muster/restart-wanted || echo "installed; restart the terminal by hand" >&2
