//! A QR code as lines of text: the only user of the crate `qrcode`.

use anyhow::{Context, Result};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2::{Dark, Light};

/// A QR code, drawn with half blocks.
pub struct Drawing {
    /// In columns, with the quiet zone of four modules on each side (ISO/IEC 18004).
    pub width: usize,
    pub lines: String,
}

/// Draws a QR code of a text. With colours it is black on white on any background. Without, only the light modules are drawn:
/// on a light background the code is inverted, which today's cameras can read too.
pub fn draw(text: &str, colours: bool) -> Result<Drawing> {
    let code = QrCode::new(text).context("could not create the QR code")?;
    let mut renderer = code.render();
    if !colours {
        renderer.dark_color(Light).light_color(Dark);
    }
    // The corners of the colour cube, which no theme changes.
    let [start, end] = if colours {
        ["\x1b[38;5;16;48;5;231m", "\x1b[0m"]
    } else {
        [""; 2]
    };
    let drawn = renderer.build();
    let lines: Vec<String> = drawn
        .lines()
        .map(|line| format!("{start}{line}{end}"))
        .collect();
    Ok(Drawing {
        width: code.width() + 2 * 4,
        lines: lines.join("\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_page_fits_a_terminal_of_40_columns() {
        let drawing = draw("https://auth.openai.com/codex/device", false).unwrap();
        assert_eq!(drawing.width, 37);
        assert!(drawing.lines.lines().all(|line| line.chars().count() == 37));
        assert_eq!(drawing.lines.lines().count(), 19);
    }

    #[test]
    fn without_colours_the_quiet_zone_is_drawn() {
        let drawing = draw("x", false).unwrap();
        assert!(drawing.lines.starts_with(&"█".repeat(drawing.width)));
    }

    #[test]
    fn with_colours_every_line_sets_both_and_ends_them() {
        let drawing = draw("x", true).unwrap();
        for line in drawing.lines.lines() {
            let modules = line.strip_prefix("\x1b[38;5;16;48;5;231m").unwrap();
            let modules = modules.strip_suffix("\x1b[0m").unwrap();
            assert_eq!(modules.chars().count(), drawing.width);
            assert!(modules.starts_with("    ") && modules.ends_with("    "));
        }
    }
}
