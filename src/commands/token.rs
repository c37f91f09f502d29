//! `token`: prints an access token that is valid for long enough.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;

use super::formats;
use super::output::print;
use crate::cli::{RequestArgs, TokenArgs, duration};
use crate::credentials::TokenRequest;
use crate::error::Failure;
use crate::profile::Profile;
use crate::refresh::ValidToken;
use crate::settings;
use crate::terminal::warn;

pub fn token(profile: Option<String>, args: &TokenArgs) -> Result<ExitCode> {
    let profile = Profile::chosen(profile)?;
    let token = obtain(&profile, &args.request)?;
    print(&formats::token(
        args.format,
        &token.credentials,
        profile.name(),
        SystemTime::now(),
    )?)
}

/// A token as it is asked for; a warning about it has been shown.
pub fn obtain(profile: &Profile, args: &RequestArgs) -> Result<ValidToken> {
    let request = request(args)?;
    let mut token = profile.valid_token(&request)?;
    if let Some(rejected) = settings::rejected_token()
        && rejected == token.credentials.fingerprint()?
    {
        token = profile.replaced(&token, &request)?;
    }
    if args.verify {
        token = profile.verified(token, &request)?;
    }
    if let Some(warning) = &token.warning {
        warn(warning);
    }
    Ok(token)
}

/// What is asked for: the options say it, else the environment, as to the command of another machine (`login --from`).
fn request(args: &RequestArgs) -> Result<TokenRequest> {
    let min_ttl =
        match (args.min_ttl, settings::min_ttl()?) {
            (None, Some((name, text))) => Some(duration(&text).map_err(|why| {
                Failure::Usage(format!("invalid value {text:?} for {name}: {why}"))
            })?),
            (min_ttl, _) => min_ttl,
        };
    Ok(TokenRequest {
        min_ttl,
        force_refresh: args.force_refresh || settings::force_refresh(),
        timeout: args.timeout,
    })
}
