# systemd: a user timer that calls codex-auth every hour, so that sandboxes and
# containers, which cannot refresh a token, find a valid one. A token that lives
# ten days is refreshed in its last one. Install the timer with
#   {{call}} setup systemd | sh
# The .deb and the .rpm have one: instead, without variables of codex-auth,
#   systemctl --user enable --now codex-auth-refresh@default.timer
# It runs while you are signed in to this machine; always, after
#   loginctl enable-linger
# What went wrong: journalctl --user -u codex-auth-refresh{{suffix}}

set -eu
units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
mkdir -p "$units"

cat >"$units/codex-auth-refresh{{suffix}}.service" <<'END'
[Unit]
Description=Keep the token of codex-auth{{of_profile}} valid

[Service]
Type=oneshot
ExecStart={{words}}
# The token.
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
