//! What an agent wants on its page besides values: texts, tables, HTML.

use std::sync::LazyLock;

use ammonia::{Builder, UrlRelative};
use gmetad_core::agent::{Cell, Element, Table};
use maud::{Markup, PreEscaped, html};

use super::lamp::named;
use super::values::{COLUMNS, ROWS, folded, more};
use super::visit::{Visit, shortened, visible};
use crate::lang::units::number;
use crate::view::AgentView;

/// Elements of an agent.
const ELEMENTS: usize = 50;
/// Bytes of an HTML element; of a longer one nothing is shown, since half of it may be read differently.
const HTML: usize = 256 << 10;
/// Characters of a text, and of a cell.
const TEXT: usize = 20_000;
const CELL: usize = 500;

/// Lists, tables, emphasis, links: what agents of the ancestor write. No scripts, styles, forms, frames, and no pictures, which
/// the page's policy would not load from elsewhere. Links open as from a stranger.
static SANITISER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut builder = Builder::default();
    builder
        .rm_tags(["img", "area", "map"])
        .url_relative(UrlRelative::PassThrough)
        .link_rel(Some("noopener noreferrer nofollow"));
    builder
});

pub(super) fn section(visit: &Visit<'_>, view: &AgentView) -> Markup {
    let Some(taken) = &view.last else { return html! {} };
    let all = taken.measurement.elements();
    html! {
        @for (place, element) in all.iter().enumerate().take(ELEMENTS) {
            @match element {
                Element::Text(text) => p class="element" dir="auto" { (shortened(&visit.message(text), TEXT)) },
                Element::Html(text) => (sanitised(visit, text)),
                Element::Table(of) => (table(visit, view, place, of)),
            }
        }
        (more(visit, all.len(), ELEMENTS))
    }
}

fn sanitised(visit: &Visit<'_>, text: &str) -> Markup {
    html! {
        @if text.len() > HTML { p class="nothing" { (visit.lang.text("This is too long to be shown.")) } }
        @else { div class="element html" dir="auto" { (PreEscaped(clean(text))) } }
    }
}

fn table(visit: &Visit<'_>, view: &AgentView, place: usize, table: &Table) -> Markup {
    let name = visit.title(&table.title);
    let columns = table.columns.len().min(COLUMNS);
    let is_number = |place: usize| matches!(table.rows.first().and_then(|row| row.get(place)), Some(Cell::Number(_)));
    let title = html! {
        @if !name.is_empty() { h2 dir="auto" { (name) } }
    };
    let body = html! {
        div class="wide" {
            table {
                @if columns > 0 {
                    thead { tr { @for (place, column) in table.columns.iter().enumerate().take(columns) { th scope="col" class=[is_number(place).then_some("n")] dir="auto" { (shortened(&visit.title(column), CELL)) } } } }
                }
                tbody {
                    @for row in table.rows.iter().take(ROWS) {
                        tr {
                            @for place in 0..columns {
                                @match row.get(place) {
                                    Some(Cell::Number(value)) => td class="n" { @if value.is_finite() { (number(visit.lang, *value)) } @else { "–" } },
                                    Some(Cell::Text(text)) => td dir="auto" { (shortened(&visit.message(text), CELL)) },
                                    Some(Cell::State(state)) => td { (named(visit.lang, *state)) },
                                    None => td {},
                                }
                            }
                        }
                    }
                }
            }
        }
        (more(visit, table.rows.len(), ROWS))
    };
    // Without a name there is nothing to unfold it by.
    let rows = if name.is_empty() { 0 } else { table.rows.len() };
    html! { section class="element table" { (folded(view, rows, &format!("table-{place}"), &title, &body)) } }
}

/// HTML without what could harm.
fn clean(text: &str) -> String {
    visible(&SANITISER.clean(text).to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_could_harm_is_taken_out() {
        for (text, expected) in [
            ("<b>up</b> <script>alert(1)</script>", "<b>up</b> "),
            ("<p onclick=x style='position:fixed'>a", "<p>a</p>"),
            ("<a href='javascript:alert(1)'>a</a>", "<a rel=\"noopener noreferrer nofollow\">a</a>"),
            ("<form action=/x><input name=token></form>", ""),
            ("<iframe src=//evil></iframe><img src=x onerror=y>", ""),
            ("<table><tr><td>1</table>", "<table><tbody><tr><td>1</td></tr></tbody></table>"),
            ("</div></main><h1>é&lt;</h1>", "<h1>é&lt;</h1>"),
            ("<svg><style><img src=x onerror=alert(1)>", ""),
        ] {
            assert_eq!(clean(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_runs_is_left(parts in proptest::collection::vec("<script>|<svg|<math|<style>|onload=|'|\"|>|<|/|javascript:|<a href=|&#x6a;|<!--|-->|]]>|x", 0..30)) {
            let text = clean(&parts.concat()).to_ascii_lowercase();
            prop_assert!(!text.contains("<script") && !text.contains("<svg") && !text.contains("<style"), "{}", text);
            prop_assert!(!text.contains("href=\"javascript"), "{}", text);
        }
    }
}
