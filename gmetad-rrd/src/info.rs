//! What `rrdtool info` prints, from a header alone.

use std::fmt::Write as _;

use crate::format::{Layout, State};
use crate::value::last_text;

/// The text `rrdtool info NAME` prints for that header, byte for byte.
pub(crate) fn text(name: &str, layout: &Layout, state: &State) -> String {
    let schema = layout.schema();
    let mut out = format!(
        "filename = \"{name}\"\nrrd_version = \"{}\"\nstep = {}\nlast_update = {}\nheader_size = {}\n",
        layout.version(),
        schema.step,
        state.last_update,
        layout.header_size()
    );
    // Writing to a String does not fail.
    for (index, (ds, pdp)) in schema.ds.iter().zip(&state.pdp).enumerate() {
        let last = String::from_utf8_lossy(last_text(&pdp.last_ds));
        let lines = [
            ("index", index.to_string()),
            ("type", format!("\"{}\"", ds.kind.name())),
            ("minimal_heartbeat", ds.heartbeat.to_string()),
            ("min", number(ds.min)),
            ("max", number(ds.max)),
            ("last_ds", format!("\"{last}\"")),
            ("value", number(pdp.value)),
            ("unknown_sec", pdp.unknown_sec.to_string()),
        ];
        for (field, value) in lines {
            let _ = writeln!(out, "ds[{}].{field} = {value}", ds.name);
        }
    }
    for (index, (rra, cdps)) in schema.rras.iter().zip(state.cdp.chunks(schema.ds.len().max(1))).enumerate() {
        let lines = [
            ("cf", format!("\"{}\"", rra.cf.name())),
            ("rows", rra.rows.to_string()),
            ("cur_row", state.cur_row[index].to_string()),
            ("pdp_per_row", rra.steps.to_string()),
            ("xff", number(rra.xff)),
        ];
        for (field, value) in lines {
            let _ = writeln!(out, "rra[{index}].{field} = {value}");
        }
        for (ds, cdp) in cdps.iter().enumerate() {
            let _ = writeln!(out, "rra[{index}].cdp_prep[{ds}].value = {}", number(cdp.value));
            let _ = writeln!(out, "rra[{index}].cdp_prep[{ds}].unknown_datapoints = {}", cdp.unknown);
        }
    }
    out
}

/// A number as C's `%.10e` prints it, and `NaN`.
fn number(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let text = format!("{value:.10e}");
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
    use super::number;

    #[test]
    fn numbers_are_printed_as_by_c() {
        let texts = [0.5, 0.0, -5460.0, 1e120, 3e-7, f64::NAN, f64::NEG_INFINITY].map(number);
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
