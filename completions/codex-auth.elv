
use builtin;
use str;

set edit:completion:arg-completer[codex-auth] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'codex-auth'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'codex-auth'= {
            cand --profile 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
            cand login 'Sign in with ChatGPT'
            cand token 'Print a fresh access token'
            cand account-id 'Print the ChatGPT account ID'
            cand status 'Show who is signed in, and until when'
            cand logout 'Revoke the login at the issuer, and remove it from this machine'
            cand exec 'Run a command with the access token in its environment'
            cand setup 'Print the configuration that makes another program call codex-auth'
            cand doctor 'Find what stands in the way of a login or of a renewal'
            cand completions 'Print a completion script'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'codex-auth;login'= {
            cand --workspace 'Accept a login into this ChatGPT workspace only; may be given several times'
            cand --profile 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]'
            cand --device-code 'Sign in with a code that is typed on another device'
            cand --no-browser 'Print the address, but do not open a browser'
            cand --qr 'With --device-code: show the address as a QR code too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'codex-auth;token'= {
            cand --min-ttl 'Life that the token must have left, as 90s, 5m, 2h or 1d [default: 5m]'
            cand --timeout 'How long to wait for a renewal, as 90s, 5m, 2h or 1d [default: 30s]'
            cand --format 'The shape to print the token in'
            cand --profile 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]'
            cand --force-refresh 'Renew the token even if it is fresh'
            cand --verify 'Ask the backend whether it accepts the token, and renew it if not'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'codex-auth;account-id'= {
            cand --profile 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'codex-auth;status'= {
            cand --profile 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]'
            cand --json 'Print one JSON object'
            cand --check 'Ask the backend too whether it accepts the token'
            cand --all 'Show every stored login'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'codex-auth;logout'= {
            cand --profile 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]'
            cand --no-revoke 'Remove the login from this machine only'
            cand --all 'End every stored login'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'codex-auth;exec'= {
            cand --env 'Put the token into this environment variable too; may be given several times'
            cand --profile 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'codex-auth;setup'= {
            cand --base-url 'Where that program sends its requests; claude-code needs it'
            cand --profile 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'codex-auth;doctor'= {
            cand --profile 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]'
            cand --json 'Print one JSON object'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'codex-auth;completions'= {
            cand --profile 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'codex-auth;help'= {
            cand login 'Sign in with ChatGPT'
            cand token 'Print a fresh access token'
            cand account-id 'Print the ChatGPT account ID'
            cand status 'Show who is signed in, and until when'
            cand logout 'Revoke the login at the issuer, and remove it from this machine'
            cand exec 'Run a command with the access token in its environment'
            cand setup 'Print the configuration that makes another program call codex-auth'
            cand doctor 'Find what stands in the way of a login or of a renewal'
            cand completions 'Print a completion script'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'codex-auth;help;login'= {
        }
        &'codex-auth;help;token'= {
        }
        &'codex-auth;help;account-id'= {
        }
        &'codex-auth;help;status'= {
        }
        &'codex-auth;help;logout'= {
        }
        &'codex-auth;help;exec'= {
        }
        &'codex-auth;help;setup'= {
        }
        &'codex-auth;help;doctor'= {
        }
        &'codex-auth;help;completions'= {
        }
        &'codex-auth;help;help'= {
        }
    ]
    $completions[$command]
}
