//! `token`: prints an access token that lives long enough.

use std::process::ExitCode;

use anyhow::Result;

use super::logins::usable;
use super::output::print;
use crate::cli::{Format, TokenArgs};
use crate::credentials::Glance;
use crate::renewal::{self, Usable, Wish};
use crate::settings::{self, CODEX_PROFILE};
use crate::store::Store;
use crate::terminal::complain;
use crate::{formats, verification};

pub fn token(profile: Option<String>, args: &TokenArgs) -> Result<ExitCode> {
    let wish = Wish {
        min_ttl: args.min_ttl,
        another: args.force_refresh,
        timeout: args.timeout,
    };
    let profile = settings::profile(profile)?;
    if let Some(line) = at_a_glance(&profile, &wish, args)? {
        return print(&line);
    }
    let mut usable = usable(&profile, &wish)?;
    if args.verify {
        usable = verified(&profile, usable, &wish)?;
    }
    if let Some(warning) = &usable.warning {
        complain(warning);
    }
    print(&formats::token(args.format, &usable.login, &profile)?)
}

/// What is printed in the case of nearly every call: the token is fresh, and nothing else was asked for. The rest of the
/// program says the same, and takes twice as long.
fn at_a_glance(profile: &str, wish: &Wish, args: &TokenArgs) -> Result<Option<String>> {
    if profile == CODEX_PROFILE || args.verify || args.format != Format::Plain {
        return Ok(None);
    }
    let stored = Store::new(profile.to_owned())?.bytes()?.unwrap_or_default();
    let glance = Glance::parse(&stored).filter(|glance| renewal::is_fresh(glance, wish));
    Ok(glance.map(|glance| formats::plain(glance.access_token())))
}

/// The same login, after the backend was asked whether it accepts its token; or another one.
fn verified(profile: &str, usable: Usable, wish: &Wish) -> Result<Usable> {
    match profile {
        CODEX_PROFILE => verification::verified_of_codex(usable),
        _ => verification::verified(&Store::new(profile.to_owned())?, usable, wish),
    }
}
