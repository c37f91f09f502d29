complete --keep-order --exclusive --command codex-auth --arguments "(CODEX_AUTH_COMPLETE=fish codex-auth -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
