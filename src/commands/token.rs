//! `token`: prints an access token that is valid for long enough.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;

use super::formats;
use super::output::print;
use crate::cli::{RequestArgs, TokenArgs};
use crate::credentials::TokenRequest;
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

/// A token as the options ask for it, else another machine whose command this is; a warning about it has been shown.
pub fn obtain(profile: &Profile, args: &RequestArgs) -> Result<ValidToken> {
    let forwarded = settings::forwarded_request()?;
    let request = TokenRequest {
        min_ttl: args.min_ttl.or(forwarded.min_ttl),
        force_refresh: args.force_refresh || forwarded.force_refresh,
        is_forwarded: forwarded.asks_for_another() && !args.force_refresh,
        timeout: args.timeout,
    };
    let mut token = profile.valid_token(&request)?;
    // A report from elsewhere is a hint: the backend decides.
    let is_reported = match &forwarded.rejected {
        Some(rejected) => *rejected == token.credentials.fingerprint()?,
        None => false,
    };
    if args.verify || is_reported {
        token = profile.verified(token, &request)?;
    }
    if let Some(warning) = &token.warning {
        warn(warning);
    }
    Ok(token)
}
