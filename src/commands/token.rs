//! `token`: prints an access token that is valid for long enough.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;

use super::formats;
use super::output::print;
use crate::cli::TokenArgs;
use crate::credentials::TokenRequest;
use crate::profile;
use crate::refresh::{ValidToken, verify};
use crate::settings::{self, CODEX_PROFILE};
use crate::store::Store;
use crate::terminal::warn;

pub fn token(profile: Option<String>, args: &TokenArgs) -> Result<ExitCode> {
    let request = TokenRequest {
        min_ttl: args.min_ttl,
        force_refresh: args.force_refresh,
        timeout: args.timeout,
    };
    let profile = settings::profile(profile)?;
    let mut token = profile::valid_token(&profile, &request)?;
    if args.verify {
        token = verified(&profile, token, &request)?;
    }
    if let Some(warning) = &token.warning {
        warn(warning);
    }
    let now = SystemTime::now();
    print(&formats::token(
        args.format,
        &token.credentials,
        &profile,
        now,
    )?)
}

/// The same token, after the backend was asked whether it accepts it; or another one.
fn verified(profile: &str, token: ValidToken, request: &TokenRequest) -> Result<ValidToken> {
    match profile {
        CODEX_PROFILE => verify::verified_of_codex(token),
        _ => verify::verified(&Store::new(profile.to_owned())?, token, request),
    }
}
