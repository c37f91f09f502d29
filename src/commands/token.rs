//! `token`: prints an access token that is valid for long enough.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;

use super::formats;
use super::output::print;
use crate::cli::TokenArgs;
use crate::credentials::TokenRequest;
use crate::profile;
use crate::settings;
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
        token = profile::verified(&profile, token, &request)?;
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
