set edit:completion:arg-completer[codex-auth] = { |@words|
    var index = (count $words)
    set index = (- $index 1)

    put (env _CLAP_IFS="\n" _CLAP_COMPLETE_INDEX=(to-string $index) CODEX_AUTH_COMPLETE="elvish" codex-auth -- $@words) | to-lines
}
