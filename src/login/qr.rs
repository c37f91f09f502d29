//! Draws QR codes as lines of text. Nothing else uses the crate `qrcode`.

use anyhow::{Context, Result};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2::{Dark, Light};

use crate::terminal::painted;

/// Draws a QR code with half blocks, and returns its width in columns. With colours it is black on white on any
/// background. Without, only the light modules are drawn: on a light background the code is inverted, which current
/// cameras can also read.
pub fn draw(text: &str, colours: bool) -> Result<(usize, String)> {
    let code = QrCode::new(text).context("could not create the QR code")?;
    let mut renderer = code.render();
    if !colours {
        renderer.dark_color(Light).light_color(Dark);
    }
    let drawn = renderer.build();
    // The corners of the colour cube, which no theme changes.
    let line = |line| painted(line, "38;5;16;48;5;231");
    let lines: Vec<String> = drawn.lines().map(line).collect();
    // Each side has a quiet zone of four modules (ISO/IEC 18004).
    Ok((code.width() + 2 * 4, lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The width of a drawing, and its lines without their style.
    fn drawn(text: &str, colours: bool) -> (usize, Vec<String>) {
        let (width, drawing) = draw(text, colours).unwrap();
        let modules = |line: &str| {
            let modules = line.strip_prefix("\x1b[38;5;16;48;5;231m").unwrap();
            modules.strip_suffix("\x1b[0m").unwrap().to_owned()
        };
        (width, drawing.lines().map(modules).collect())
    }

    #[test]
    fn the_device_page_fits_a_terminal_of_40_columns() {
        let (width, lines) = drawn("https://auth.openai.com/codex/device", false);
        assert_eq!((width, lines.len()), (37, 19));
        assert!(lines.iter().all(|line| line.chars().count() == 37));
    }

    #[test]
    fn without_colours_the_quiet_zone_is_drawn() {
        let (width, lines) = drawn("x", false);
        assert_eq!(lines[0], "█".repeat(width));
    }

    #[test]
    fn with_colours_it_is_not() {
        let (width, lines) = drawn("x", true);
        assert_eq!(lines[0], " ".repeat(width));
    }
}
