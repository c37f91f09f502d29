//! Compares output with what was expected, line by line and with placeholders, and shows both side by side if they
//! differ.

/// Whether a text matches: `[..]` stands for anything within a line, a line `...` for any number of lines.
pub fn matches(expected: &str, actual: &str) -> bool {
    let expected: Vec<&str> = expected.split_inclusive('\n').collect();
    let actual: Vec<&str> = actual.split_inclusive('\n').collect();
    lines_match(&expected, &actual)
}

fn lines_match(expected: &[&str], actual: &[&str]) -> bool {
    let Some((first, rest)) = expected.split_first() else {
        return actual.is_empty();
    };
    if first.trim_end() == "..." {
        return (0..=actual.len()).any(|skipped| lines_match(rest, &actual[skipped..]));
    }
    actual
        .split_first()
        .is_some_and(|(line, others)| line_matches(first, line) && lines_match(rest, others))
}

fn line_matches(expected: &str, actual: &str) -> bool {
    let Some((start, rest)) = expected.split_once("[..]") else {
        return expected == actual;
    };
    let Some(actual) = actual.strip_prefix(start) else {
        return false;
    };
    let mut ends = actual
        .char_indices()
        .map(|(at, _)| at)
        .chain([actual.len()]);
    ends.any(|at| line_matches(rest, &actual[at..]))
}

/// A path in a command to run: Windows needs quotes around it.
pub fn word(path: &str) -> String {
    let quote = if cfg!(windows) { "\"" } else { "" };
    format!("{quote}{path}{quote}")
}

/// Describes how a text differs from what was expected; empty if it does not. Makes whitespace and line ends visible.
pub fn difference(name: &str, expected: &str, actual: &str) -> String {
    if matches(expected, actual) {
        return format!("{name}: as expected\n");
    }
    let expected = marked(expected, '-');
    let actual = marked(actual, '+');
    format!("{name}: expected (-), got (+)\n{expected}{actual}")
}

fn marked(text: &str, mark: char) -> String {
    if text.is_empty() {
        return format!("{mark} (nothing)\n");
    }
    let lines = text.split_inclusive('\n');
    let marked: Vec<String> = lines.map(|line| format!("{mark} {line:?}\n")).collect();
    marked.concat()
}
