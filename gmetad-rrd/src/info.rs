//! What `rrdtool info` prints, from a header alone.

use std::fmt::Write as _;

use crate::format::{Layout, State};
use crate::value::last_text;

/// One value of [`items`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    /// A floating-point number.
    Number(f64),
    /// A whole number; the text of one.
    Count(String),
    /// A text.
    Text(String),
}

/// The text `rrdtool info NAME` prints for that header, byte for byte.
pub(crate) fn text(name: &str, layout: &Layout, state: &State) -> String {
    let mut out = format!("filename = \"{name}\"\n");
    // Writing to a String does not fail.
    for (key, item) in items(layout, state) {
        let _ = match item {
            Item::Number(value) => writeln!(out, "{key} = {}", scientific(value, 10)),
            Item::Count(count) => writeln!(out, "{key} = {count}"),
            Item::Text(text) => writeln!(out, "{key} = \"{text}\""),
        };
    }
    out
}

/// What `rrdtool info` tells of that header behind the file name, in its order.
pub(crate) fn items(layout: &Layout, state: &State) -> Vec<(String, Item)> {
    let schema = layout.schema();
    let count = |count: u64| Item::Count(count.to_string());
    let mut items = vec![
        ("rrd_version".to_owned(), Item::Text(layout.version().to_owned())),
        ("step".to_owned(), count(schema.step)),
        ("last_update".to_owned(), Item::Count(state.last_update.to_string())),
        ("header_size".to_owned(), count(layout.header_size() as u64)),
    ];
    for (index, (ds, pdp)) in schema.ds.iter().zip(&state.pdp).enumerate() {
        let last = String::from_utf8_lossy(last_text(&pdp.last_ds)).into_owned();
        let fields = [
            ("index", count(index as u64)),
            ("type", Item::Text(ds.kind.name().to_owned())),
            ("minimal_heartbeat", count(ds.heartbeat)),
            ("min", Item::Number(ds.min)),
            ("max", Item::Number(ds.max)),
            ("last_ds", Item::Text(last)),
            ("value", Item::Number(pdp.value)),
            ("unknown_sec", count(pdp.unknown_sec)),
        ];
        items.extend(fields.map(|(field, item)| (format!("ds[{}].{field}", ds.name), item)));
    }
    for (index, (rra, cdps)) in schema.rras.iter().zip(state.cdp.chunks(schema.ds.len().max(1))).enumerate() {
        let fields = [
            ("cf", Item::Text(rra.cf.name().to_owned())),
            ("rows", count(rra.rows)),
            ("cur_row", count(state.cur_row[index])),
            ("pdp_per_row", count(rra.steps)),
            ("xff", Item::Number(rra.xff)),
        ];
        items.extend(fields.map(|(field, item)| (format!("rra[{index}].{field}"), item)));
        for (ds, cdp) in cdps.iter().enumerate() {
            items.push((format!("rra[{index}].cdp_prep[{ds}].value"), Item::Number(cdp.value)));
            items.push((format!("rra[{index}].cdp_prep[{ds}].unknown_datapoints"), count(cdp.unknown)));
        }
    }
    items
}

/// A number as C's `%.*e` prints it with that many digits behind the dot; `NaN`, `inf`, `-inf`.
pub(crate) fn scientific(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let text = format!("{value:.digits$e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::scientific;

    #[test]
    fn numbers_are_printed_as_by_c() {
        let texts = [0.5, 0.0, -5460.0, 1e120, 3e-7, f64::NAN, f64::NEG_INFINITY].map(|value| scientific(value, 10));
        let expected = [
            "5.0000000000e-01",
            "0.0000000000e+00",
            "-5.4600000000e+03",
            "1.0000000000e+120",
            "3.0000000000e-07",
            "NaN",
            "-inf",
        ];
        assert_eq!(texts, expected);
    }
}
