//! What a look at one thing found.

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
    /// What was looked at: a short name that stays.
    pub check: &'static str,
    pub level: Level,
    /// How it was found.
    pub words: String,
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
    pub fn ok(check: &'static str, words: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Ok,
            words: words.into(),
            advice: None,
        }
    }

    pub fn warning(
        check: &'static str,
        words: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Warning,
            advice: Some(advice.into()),
            ..Self::ok(check, words)
        }
    }

    pub fn problem(
        check: &'static str,
        words: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Problem,
            ..Self::warning(check, words, advice)
        }
    }
}
