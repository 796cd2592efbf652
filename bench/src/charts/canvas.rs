//! What all pictures have in common: size, colours, text, and how a drawing becomes a document.

use anyhow::Result;
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::Chart;

/// Where pictures are drawn.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Width of every picture, in pixels.
pub(super) const WIDTH: u32 = 860;

/// Text, axes and grids: becomes the colour of the page's own text.
pub(super) const INK: RGBColor = RGBColor(1, 1, 1);

/// How [`INK`] is written by the backend.
const INK_TEXT: &str = "#010101";

/// Of series. Each can be read on white and on black, and told from the others by those who see no red or no green.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0x3a, 0x7c, 0xd0),
    RGBColor(0xd9, 0x6a, 0x1e),
    RGBColor(0x1f, 0x9e, 0x77),
    RGBColor(0xb8, 0x5c, 0xb0),
    RGBColor(0x9a, 0x8a, 0x1c),
    RGBColor(0x5a, 0xa9, 0xc4),
    RGBColor(0x85, 0x85, 0x85),
];

/// The colour of a series.
pub(super) fn colour(number: usize) -> RGBColor {
    COLOURS[number % COLOURS.len()]
}

/// Sizes of text, in the backend's measure: it writes four fifths of it as pixels.
pub(super) const SMALL: u32 = 15;
pub(super) const LARGE: u32 = 17;

/// Text of a size at a place of which it is the given corner.
pub(super) fn text(size: u32, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK).pos(Pos::new(horizontal, vertical))
}

/// Names of series with their colours, in rows at the top of a picture; answers with the height that they take.
pub(super) fn legend(area: &Area<'_>, entries: &[(String, RGBColor)]) -> Result<i32> {
    const ROW: i32 = 20;
    let (mut left, mut top) = (16, 6);
    for (name, colour) in entries {
        // No font is known here; its letters are about this wide.
        let width = 44 + i32::try_from(name.chars().count()).unwrap_or(0) * 8;
        if left > 16 && left + width > WIDTH as i32 - 16 {
            (left, top) = (16, top + ROW);
        }
        area.draw(&Rectangle::new([(left, top), (left + 14, top + 12)], colour.filled()))?;
        area.draw(&Text::new(name.clone(), (left + 20, top + 6), text(SMALL, HPos::Left, VPos::Center)))?;
        left += width;
    }
    Ok(top + ROW)
}

/// Draws a picture of a height.
pub(super) fn draw(
    name: &str,
    title: &str,
    description: &str,
    height: u32,
    body: impl FnOnce(&Area<'_>) -> Result<()>,
) -> Result<Option<Chart>> {
    let mut drawn = String::new();
    {
        let area = SVGBackend::with_string(&mut drawn, (WIDTH, height)).into_drawing_area();
        body(&area)?;
        area.present()?;
    }
    let svg = document(name, title, description, &drawn);
    Ok(Some(Chart { name: name.to_owned(), title: title.to_owned(), description: description.to_owned(), svg }))
}

/// A drawing with a title, in the colours of the page around it; alone, in those that the reader prefers.
fn document(name: &str, title: &str, description: &str, drawn: &str) -> String {
    let Some((head, body)) = drawn.split_once('>') else { return drawn.to_owned() };
    let head = format!("{head} role=\"img\" aria-labelledby=\"{name}-title {name}-description\">");
    format!(
        "{head}\n<title id=\"{name}-title\">{}</title>\n<desc id=\"{name}-description\">{}</desc>\n\
         <style>svg{{color:#1f2328}}@media(prefers-color-scheme:dark){{svg{{color:#e6edf3}}}}</style>{}",
        escape(title),
        escape(description),
        body.replace(INK_TEXT, "currentColor"),
    )
}

/// Text as it is written in XML and HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_a_title_takes_the_colour_of_its_page_and_nothing_from_elsewhere() {
        let chart = draw("x", "a < b", "how", 100, |area| {
            area.draw(&Text::new("text", (5, 5), text(SMALL, HPos::Left, VPos::Top)))?;
            Ok(())
        });
        let svg = chart.unwrap().unwrap().svg;
        assert!(svg.contains("<title id=\"x-title\">a &lt; b</title>"), "{svg}");
        assert!(svg.contains("currentColor") && !svg.contains(INK_TEXT), "{svg}");
        assert_eq!(svg.matches("http").count(), 1, "only the name of SVG itself: {svg}");
    }
}
