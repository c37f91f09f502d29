# systemd: a user timer that runs codex-auth every hour, so that sandboxes and
# containers, which cannot refresh a token, find a valid one. A token that is
# valid for ten days is refreshed on the last day. To install the timer, run
#   {{call}} setup systemd | sh
# The .deb and .rpm packages include one, for use without CODEX_AUTH variables:
#   systemctl --user enable --now codex-auth-refresh@default.timer
# The timer runs while you are logged in to this machine. To run it always:
#   loginctl enable-linger
# To see errors: journalctl --user -u codex-auth-refresh{{suffix}}

set -eu
units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
mkdir -p "$units"

cat >"$units/codex-auth-refresh{{suffix}}.service" <<'END'
[Unit]
Description=Keep the token of codex-auth{{of_profile}} valid

[Service]
Type=oneshot
ExecStart="{{words}}"
# Discard the token.
StandardOutput=null
# Let a refresh in progress finish.
TimeoutStopSec=2min
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
END

cat >"$units/codex-auth-refresh{{suffix}}.timer" <<'END'
[Unit]
Description=Keep the token of codex-auth{{of_profile}} valid

[Timer]
OnCalendar=hourly
RandomizedDelaySec=10min
Persistent=yes

[Install]
WantedBy=timers.target
END

systemctl --user daemon-reload
systemctl --user enable --now 'codex-auth-refresh{{suffix}}.timer'
