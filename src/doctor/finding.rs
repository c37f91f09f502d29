//! A finding: what one check found, how bad that is, and what to do about it.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    Ok,
    /// It works, but not as well, or not as safely, as it could.
    Warning,
    /// It stands in the way.
    Problem,
}

/// One thing that was looked at.
pub struct Finding {
    /// What was looked at: a short name, which scripts may rely on.
    pub check: &'static str,
    pub level: Level,
    /// What was found, in words.
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl Finding {
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Ok,
            found: found.into(),
            advice: None,
        }
    }

    pub fn warning(
        check: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Warning,
            advice: Some(advice.into()),
            ..Self::ok(check, found)
        }
    }

    pub fn problem(
        check: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Problem,
            ..Self::warning(check, found, advice)
        }
    }
}
