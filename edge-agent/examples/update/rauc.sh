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
set -eu

# RAUC wants to see a file name that ends in .raucb only on some versions; a link costs nothing.
bundle="${MUSTER_UPDATE_FILE}.raucb"
ln -sf "$MUSTER_UPDATE_FILE" "$bundle"
trap 'rm -f "$bundle"' EXIT

rauc install "$bundle"

# The boot loader tries the new slot and falls back by itself if it does not come up (RAUC: boot attempts). Mark it good
# from the new system, once the agent beats there: `rauc status mark-good`.
#
# Restart when nobody is served: here at once, a little later, so that the agent can write down that it is installed.
systemd-run --on-active=15 systemctl reboot
