# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_codex_auth_global_optspecs
    string join \n profile= h/help V/version
end

function __fish_codex_auth_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_codex_auth_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_codex_auth_using_subcommand
    set -l cmd (__fish_codex_auth_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c codex-auth -n "__fish_codex_auth_needs_command" -l profile -d 'The login to use: a name of your choice, or `codex` to read Codex\'s own login [env: CODEX_AUTH_PROFILE] [default: default]' -r
complete -c codex-auth -n "__fish_codex_auth_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c codex-auth -n "__fish_codex_auth_needs_command" -s V -l version -d 'Print version'
complete -c codex-auth -n "__fish_codex_auth_needs_command" -f -a "login" -d 'Sign in with ChatGPT'
complete -c codex-auth -n "__fish_codex_auth_needs_command" -f -a "token" -d 'Print a fresh access token'
complete -c codex-auth -n "__fish_codex_auth_needs_command" -f -a "account-id" -d 'Print the ChatGPT account ID'
complete -c codex-auth -n "__fish_codex_auth_needs_command" -f -a "status" -d 'Show who is signed in, and until when'
complete -c codex-auth -n "__fish_codex_auth_needs_command" -f -a "logout" -d 'Revoke the login at the issuer, and remove it from this machine'
complete -c codex-auth -n "__fish_codex_auth_needs_command" -f -a "exec" -d 'Run a command with the access token in its environment'
complete -c codex-auth -n "__fish_codex_auth_needs_command" -f -a "setup" -d 'Print the configuration that makes another program call codex-auth'
complete -c codex-auth -n "__fish_codex_auth_needs_command" -f -a "doctor" -d 'Find what stands in the way of a login or of a renewal'
complete -c codex-auth -n "__fish_codex_auth_needs_command" -f -a "completions" -d 'Print a completion script'
complete -c codex-auth -n "__fish_codex_auth_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand login" -l workspace -d 'Accept a login into this ChatGPT workspace only; may be given several times' -r
complete -c codex-auth -n "__fish_codex_auth_using_subcommand login" -l profile -d 'The login to use: a name of your choice, or `codex` to read Codex\'s own login [env: CODEX_AUTH_PROFILE] [default: default]' -r
complete -c codex-auth -n "__fish_codex_auth_using_subcommand login" -l device-code -d 'Sign in with a code that is typed on another device'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand login" -l no-browser -d 'Print the address, but do not open a browser'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand login" -l qr -d 'With --device-code: show the address as a QR code too'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand login" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand token" -l min-ttl -d 'Life that the token must have left, as 90s, 5m, 2h or 1d [default: 5m]' -r
complete -c codex-auth -n "__fish_codex_auth_using_subcommand token" -l timeout -d 'How long to wait for a renewal, as 90s, 5m, 2h or 1d [default: 30s]' -r
complete -c codex-auth -n "__fish_codex_auth_using_subcommand token" -l format -d 'The shape to print the token in' -r -f -a "plain\t'The bare token'
json\t'One JSON object: token, type, expiry, account ID, plan, profile'
headers\t'HTTP header lines, for `curl -H @-`'
headers-json\t'The same headers as one JSON object'
curl\t'Configuration lines, for `curl -K -`'
env\t'Shell assignments, for `eval`'"
complete -c codex-auth -n "__fish_codex_auth_using_subcommand token" -l profile -d 'The login to use: a name of your choice, or `codex` to read Codex\'s own login [env: CODEX_AUTH_PROFILE] [default: default]' -r
complete -c codex-auth -n "__fish_codex_auth_using_subcommand token" -l force-refresh -d 'Renew the token even if it is fresh'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand token" -l verify -d 'Ask the backend whether it accepts the token, and renew it if not'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand token" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand account-id" -l profile -d 'The login to use: a name of your choice, or `codex` to read Codex\'s own login [env: CODEX_AUTH_PROFILE] [default: default]' -r
complete -c codex-auth -n "__fish_codex_auth_using_subcommand account-id" -s h -l help -d 'Print help'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand status" -l profile -d 'The login to use: a name of your choice, or `codex` to read Codex\'s own login [env: CODEX_AUTH_PROFILE] [default: default]' -r
complete -c codex-auth -n "__fish_codex_auth_using_subcommand status" -l json -d 'Print one JSON object'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand status" -l check -d 'Ask the backend too whether it accepts the token'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand status" -l all -d 'Show every stored login'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand logout" -l profile -d 'The login to use: a name of your choice, or `codex` to read Codex\'s own login [env: CODEX_AUTH_PROFILE] [default: default]' -r
complete -c codex-auth -n "__fish_codex_auth_using_subcommand logout" -l no-revoke -d 'Remove the login from this machine only'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand logout" -l all -d 'End every stored login'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand logout" -s h -l help -d 'Print help'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand exec" -l env -d 'Put the token into this environment variable too; may be given several times' -r
complete -c codex-auth -n "__fish_codex_auth_using_subcommand exec" -l profile -d 'The login to use: a name of your choice, or `codex` to read Codex\'s own login [env: CODEX_AUTH_PROFILE] [default: default]' -r
complete -c codex-auth -n "__fish_codex_auth_using_subcommand exec" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand setup" -l base-url -d 'Where that program sends its requests; claude-code needs it' -r
complete -c codex-auth -n "__fish_codex_auth_using_subcommand setup" -l profile -d 'The login to use: a name of your choice, or `codex` to read Codex\'s own login [env: CODEX_AUTH_PROFILE] [default: default]' -r
complete -c codex-auth -n "__fish_codex_auth_using_subcommand setup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand doctor" -l profile -d 'The login to use: a name of your choice, or `codex` to read Codex\'s own login [env: CODEX_AUTH_PROFILE] [default: default]' -r
complete -c codex-auth -n "__fish_codex_auth_using_subcommand doctor" -l json -d 'Print one JSON object'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand completions" -l profile -d 'The login to use: a name of your choice, or `codex` to read Codex\'s own login [env: CODEX_AUTH_PROFILE] [default: default]' -r
complete -c codex-auth -n "__fish_codex_auth_using_subcommand completions" -s h -l help -d 'Print help'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand help; and not __fish_seen_subcommand_from login token account-id status logout exec setup doctor completions help" -f -a "login" -d 'Sign in with ChatGPT'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand help; and not __fish_seen_subcommand_from login token account-id status logout exec setup doctor completions help" -f -a "token" -d 'Print a fresh access token'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand help; and not __fish_seen_subcommand_from login token account-id status logout exec setup doctor completions help" -f -a "account-id" -d 'Print the ChatGPT account ID'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand help; and not __fish_seen_subcommand_from login token account-id status logout exec setup doctor completions help" -f -a "status" -d 'Show who is signed in, and until when'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand help; and not __fish_seen_subcommand_from login token account-id status logout exec setup doctor completions help" -f -a "logout" -d 'Revoke the login at the issuer, and remove it from this machine'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand help; and not __fish_seen_subcommand_from login token account-id status logout exec setup doctor completions help" -f -a "exec" -d 'Run a command with the access token in its environment'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand help; and not __fish_seen_subcommand_from login token account-id status logout exec setup doctor completions help" -f -a "setup" -d 'Print the configuration that makes another program call codex-auth'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand help; and not __fish_seen_subcommand_from login token account-id status logout exec setup doctor completions help" -f -a "doctor" -d 'Find what stands in the way of a login or of a renewal'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand help; and not __fish_seen_subcommand_from login token account-id status logout exec setup doctor completions help" -f -a "completions" -d 'Print a completion script'
complete -c codex-auth -n "__fish_codex_auth_using_subcommand help; and not __fish_seen_subcommand_from login token account-id status logout exec setup doctor completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
