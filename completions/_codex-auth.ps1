
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'codex-auth' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'codex-auth'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'codex-auth' {
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('login', 'login', [CompletionResultType]::ParameterValue, 'Sign in with ChatGPT')
            [CompletionResult]::new('token', 'token', [CompletionResultType]::ParameterValue, 'Print a fresh access token')
            [CompletionResult]::new('account-id', 'account-id', [CompletionResultType]::ParameterValue, 'Print the ChatGPT account ID')
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Show who is signed in, and until when')
            [CompletionResult]::new('logout', 'logout', [CompletionResultType]::ParameterValue, 'Revoke the login at the issuer, and remove it from this machine')
            [CompletionResult]::new('exec', 'exec', [CompletionResultType]::ParameterValue, 'Run a command with the access token in its environment')
            [CompletionResult]::new('setup', 'setup', [CompletionResultType]::ParameterValue, 'Print the configuration that makes another program call codex-auth')
            [CompletionResult]::new('doctor', 'doctor', [CompletionResultType]::ParameterValue, 'Find what stands in the way of a login or of a renewal')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print a completion script')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'codex-auth;login' {
            [CompletionResult]::new('--workspace', '--workspace', [CompletionResultType]::ParameterName, 'Accept a login into this ChatGPT workspace only; may be given several times')
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]')
            [CompletionResult]::new('--device-code', '--device-code', [CompletionResultType]::ParameterName, 'Sign in with a code that is typed on another device')
            [CompletionResult]::new('--no-browser', '--no-browser', [CompletionResultType]::ParameterName, 'Print the address, but do not open a browser')
            [CompletionResult]::new('--qr', '--qr', [CompletionResultType]::ParameterName, 'With --device-code: show the address as a QR code too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'codex-auth;token' {
            [CompletionResult]::new('--min-ttl', '--min-ttl', [CompletionResultType]::ParameterName, 'Life that the token must have left, as 90s, 5m, 2h or 1d [default: 5m]')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long to wait for a renewal, as 90s, 5m, 2h or 1d [default: 30s]')
            [CompletionResult]::new('--format', '--format', [CompletionResultType]::ParameterName, 'The shape to print the token in')
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]')
            [CompletionResult]::new('--force-refresh', '--force-refresh', [CompletionResultType]::ParameterName, 'Renew the token even if it is fresh')
            [CompletionResult]::new('--verify', '--verify', [CompletionResultType]::ParameterName, 'Ask the backend whether it accepts the token, and renew it if not')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'codex-auth;account-id' {
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'codex-auth;status' {
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print one JSON object')
            [CompletionResult]::new('--check', '--check', [CompletionResultType]::ParameterName, 'Ask the backend too whether it accepts the token')
            [CompletionResult]::new('--all', '--all', [CompletionResultType]::ParameterName, 'Show every stored login')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'codex-auth;logout' {
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]')
            [CompletionResult]::new('--no-revoke', '--no-revoke', [CompletionResultType]::ParameterName, 'Remove the login from this machine only')
            [CompletionResult]::new('--all', '--all', [CompletionResultType]::ParameterName, 'End every stored login')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'codex-auth;exec' {
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Put the token into this environment variable too; may be given several times')
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'codex-auth;setup' {
            [CompletionResult]::new('--base-url', '--base-url', [CompletionResultType]::ParameterName, 'Where that program sends its requests; claude-code needs it')
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'codex-auth;doctor' {
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print one JSON object')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'codex-auth;completions' {
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'The login to use: a name of your choice, or `codex` to read Codex''s own login [env: CODEX_AUTH_PROFILE] [default: default]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'codex-auth;help' {
            [CompletionResult]::new('login', 'login', [CompletionResultType]::ParameterValue, 'Sign in with ChatGPT')
            [CompletionResult]::new('token', 'token', [CompletionResultType]::ParameterValue, 'Print a fresh access token')
            [CompletionResult]::new('account-id', 'account-id', [CompletionResultType]::ParameterValue, 'Print the ChatGPT account ID')
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Show who is signed in, and until when')
            [CompletionResult]::new('logout', 'logout', [CompletionResultType]::ParameterValue, 'Revoke the login at the issuer, and remove it from this machine')
            [CompletionResult]::new('exec', 'exec', [CompletionResultType]::ParameterValue, 'Run a command with the access token in its environment')
            [CompletionResult]::new('setup', 'setup', [CompletionResultType]::ParameterValue, 'Print the configuration that makes another program call codex-auth')
            [CompletionResult]::new('doctor', 'doctor', [CompletionResultType]::ParameterValue, 'Find what stands in the way of a login or of a renewal')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print a completion script')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'codex-auth;help;login' {
            break
        }
        'codex-auth;help;token' {
            break
        }
        'codex-auth;help;account-id' {
            break
        }
        'codex-auth;help;status' {
            break
        }
        'codex-auth;help;logout' {
            break
        }
        'codex-auth;help;exec' {
            break
        }
        'codex-auth;help;setup' {
            break
        }
        'codex-auth;help;doctor' {
            break
        }
        'codex-auth;help;completions' {
            break
        }
        'codex-auth;help;help' {
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
