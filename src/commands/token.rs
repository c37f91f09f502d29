//! `token`: prints an access token that lives long enough.

use std::process::ExitCode;

use anyhow::Result;

use super::output::print;
use crate::cli::{Format, TokenArgs};
use crate::commands::formats;
use crate::credentials::Glance;
use crate::profile::usable;
use crate::refresh;
use crate::refresh::verify;
use crate::refresh::{TokenRequest, ValidToken};
use crate::settings;
use crate::settings::CODEX_PROFILE;
use crate::store::Store;
use crate::terminal::complain;

pub fn token(profile: Option<String>, args: &TokenArgs) -> Result<ExitCode> {
    let request = TokenRequest {
        min_ttl: args.min_ttl,
        another: args.force_refresh,
        timeout: args.timeout,
    };
    let profile = settings::profile(profile)?;
    if let Some(line) = at_a_glance(&profile, &request, args)? {
        return print(&line);
    }
    let mut usable = usable(&profile, &request)?;
    if args.verify {
        usable = verified(&profile, usable, &request)?;
    }
    if let Some(warning) = &usable.warning {
        complain(warning);
    }
    print(&formats::token(args.format, &usable.credentials, &profile)?)
}

/// What is printed in the case of nearly every call: the token is fresh, and nothing else was asked for. The rest of the
/// program says the same, and takes twice as long.
fn at_a_glance(profile: &str, request: &TokenRequest, args: &TokenArgs) -> Result<Option<String>> {
    if profile == CODEX_PROFILE || args.verify || args.format != Format::Plain {
        return Ok(None);
    }
    let stored = Store::new(profile.to_owned())?.bytes()?.unwrap_or_default();
    let glance = Glance::parse(&stored).filter(|glance| refresh::is_fresh(glance, request));
    Ok(glance.map(|glance| formats::plain(glance.access_token())))
}

/// The same login, after the backend was asked whether it accepts its token; or another one.
fn verified(profile: &str, usable: ValidToken, request: &TokenRequest) -> Result<ValidToken> {
    match profile {
        CODEX_PROFILE => verify::verified_of_codex(usable),
        _ => verify::verified(&Store::new(profile.to_owned())?, usable, request),
    }
}
