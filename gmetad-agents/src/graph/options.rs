//! Which raw arguments of rrdgraph are passed on. An allow-list: nothing that names a file, a daemon, an output format of its
//! own, or a format string that is printed with anything but numbers.

use gmetad_core::agent::Message;
use gmetad_core::message;

/// Arguments of a graph, and bytes of one.
const ARGUMENTS: usize = 500;
const BYTES: usize = 4 << 10;
/// How much larger a picture may be drawn.
const ZOOM: std::ops::RangeInclusive<f64> = 0.1..=4.0;

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    /// A value, and we have our own: it is left out.
    OursFlag,
    Ours,
}

/// Long name, short name, what it takes.
const OPTIONS: &[(&str, char, Takes)] = &[
    ("allow-shrink", ' ', Takes::Nothing),
    ("alt-autoscale", 'A', Takes::Nothing),
    ("alt-autoscale-max", 'M', Takes::Nothing),
    ("alt-autoscale-min", 'J', Takes::Nothing),
    ("alt-y-grid", 'Y', Takes::Nothing),
    ("base", 'b', Takes::Value),
    ("border", ' ', Takes::Value),
    ("color", 'c', Takes::Value),
    ("dynamic-labels", ' ', Takes::Nothing),
    ("end", 'e', Takes::Ours),
    ("font", 'n', Takes::Value),
    ("font-render-mode", 'R', Takes::Value),
    ("font-smoothing-threshold", 'B', Takes::Value),
    ("force-rules-legend", 'F', Takes::Nothing),
    ("full-size-mode", 'D', Takes::Nothing),
    ("graph-render-mode", 'G', Takes::Value),
    ("grid-dash", ' ', Takes::Value),
    ("height", 'h', Takes::Ours),
    ("imgformat", 'a', Takes::Ours),
    ("interlaced", 'i', Takes::OursFlag),
    ("legend-direction", ' ', Takes::Value),
    ("legend-position", ' ', Takes::Value),
    ("logarithmic", 'o', Takes::Nothing),
    ("lower-limit", 'l', Takes::Value),
    ("no-gridfit", 'N', Takes::Nothing),
    ("no-legend", 'g', Takes::Nothing),
    ("no-minor", ' ', Takes::Nothing),
    ("only-graph", 'j', Takes::Nothing),
    ("pango-markup", 'P', Takes::Nothing),
    ("right-axis", ' ', Takes::Value),
    ("right-axis-label", ' ', Takes::Value),
    ("rigid", 'r', Takes::Nothing),
    ("slope-mode", 'E', Takes::Nothing),
    ("start", 's', Takes::Ours),
    ("step", 'S', Takes::Value),
    ("tabwidth", 'T', Takes::Value),
    ("title", 't', Takes::Value),
    ("units", ' ', Takes::Value),
    ("units-exponent", 'X', Takes::Value),
    ("units-length", 'L', Takes::Value),
    ("upper-limit", 'u', Takes::Value),
    ("use-nan-for-all-missing-data", 'Z', Takes::Nothing),
    ("vertical-label", 'v', Takes::Value),
    ("watermark", 'W', Takes::Value),
    ("week-fmt", ' ', Takes::Value),
    ("width", 'w', Takes::Ours),
    ("x-grid", 'x', Takes::Value),
    ("y-grid", 'y', Takes::Value),
    ("zoom", 'm', Takes::Value),
];

/// What may be drawn or reckoned.
const ELEMENTS: &[&str] =
    &["LINE", "AREA", "STACK", "TICK", "HRULE", "VRULE", "GPRINT", "COMMENT", "CDEF", "VDEF", "SHIFT", "TEXTALIGN"];

/// The arguments as librrd gets them: each option as one `--name=value`, then the elements. Times, sizes and the format are left
/// out: whoever asks for the picture chooses them.
///
/// # Errors
/// The first argument that may not be passed on, and what to do.
pub(super) fn checked(raw: &[String]) -> Result<Vec<String>, Message> {
    if raw.len() > ARGUMENTS || raw.iter().any(|one| one.len() > BYTES) {
        return Err(message!("there may be {} arguments of {} bytes", ARGUMENTS, BYTES));
    }
    let (mut options, mut elements) = (Vec::new(), Vec::new());
    let mut raw = raw.iter().map(|one| one.trim_start());
    while let Some(one) = raw.next() {
        if one.contains('\0') {
            return Err(message!("`{}` has a NUL", one.escape_debug().to_string()));
        }
        if !one.starts_with('-') {
            elements.push(element(one)?.to_owned());
            continue;
        }
        let (name, takes, value) = option(one)?;
        let value = match (takes, value) {
            (Takes::Nothing | Takes::OursFlag, Some(_)) => return Err(message!("`{}`: {} takes no value", one, name)),
            (Takes::Nothing | Takes::OursFlag, None) => None,
            (_, Some(value)) => Some(value),
            (_, None) => Some(raw.next().ok_or_else(|| message!("`{}`: {} needs a value", one, name))?),
        };
        match value {
            _ if matches!(takes, Takes::Ours | Takes::OursFlag) => {}
            Some(zoom) if name == "zoom" && !zoom.trim().parse::<f64>().is_ok_and(|zoom| ZOOM.contains(&zoom)) => {
                return Err(message!("`{}`: the zoom is from {} to {}", one, *ZOOM.start(), *ZOOM.end()));
            }
            Some(value) => options.push(format!("--{name}={}", value.trim())),
            None => options.push(format!("--{name}")),
        }
    }
    options.append(&mut elements);
    Ok(options)
}

/// Name, what it takes, and the value that is written with it.
fn option(word: &str) -> Result<(&'static str, Takes, Option<&str>), Message> {
    let unknown = || {
        message!(
            "`{}` is not among the options that are passed on to rrdgraph: take it out; files and daemons cannot be named",
            word
        )
    };
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = match long.split_once(['=', ' ']) {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        // Whole names only: what abbreviations mean depends on the version.
        let (name, _, takes) = OPTIONS.iter().find(|(known, _, _)| *known == name).ok_or_else(unknown)?;
        return Ok((name, *takes, value));
    }
    let mut letters = word[1..].chars();
    let letter = letters.next().filter(|letter| *letter != ' ').ok_or_else(unknown)?;
    let (name, _, takes) = OPTIONS.iter().find(|(_, short, _)| *short == letter).ok_or_else(unknown)?;
    let rest = letters.as_str();
    Ok((name, *takes, (!rest.trim().is_empty()).then_some(rest)))
}

fn element(word: &str) -> Result<&str, Message> {
    let head = word.split(':').next().unwrap_or_default();
    let head =
        if head.starts_with("LINE") { head.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') } else { head };
    if word.contains(':') && ELEMENTS.contains(&head) {
        return Ok(word);
    }
    Err(match head {
        "DEF" => message!("`{}`: files are not named here; write what it stands for in vnamedefs", word),
        _ => message!("`{}` is neither an option nor one of {}", word, ELEMENTS.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(raw: &[&str]) -> Result<Vec<String>, String> {
        checked(&raw.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_files_have() {
        let raw = [
            "-l0",
            "-u100",
            "-v koctets/s",
            "-tTraffic",
            "AREA:in#00FF00:In",
            "--lower-limit",
            "0",
            "--title=a b",
            "-r",
            "LINE2:out#0000FF:Out",
            "CDEF:x=in,8,*",
            "GPRINT:x:AVERAGE:%6.2lf %s",
            "-w",
            "400",
            "--start=-1d",
            "-aPNG",
            "-s -1d",
        ];
        let expected = [
            "--lower-limit=0",
            "--upper-limit=100",
            "--vertical-label=koctets/s",
            "--title=Traffic",
            "--lower-limit=0",
            "--title=a b",
            "--rigid",
            "AREA:in#00FF00:In",
            "LINE2:out#0000FF:Out",
            "CDEF:x=in,8,*",
            "GPRINT:x:AVERAGE:%6.2lf %s",
        ];
        assert_eq!(of(&raw).unwrap(), expected);
    }

    #[test]
    fn what_is_refused() {
        for raw in [
            &["DEF:a=/etc/passwd:value:AVERAGE"][..],
            &["-f", "<img>"],
            &["--imginfo=%s"],
            &["-z"],
            &["--lazy"],
            &["-d", "unix:/x"],
            &["--daemon=x"],
            &["--daemo=x"],
            &["-dx"],
            &["--right-axis-format=%n"],
            &["--left-axis-format", "%s"],
            &["PRINT:a:MAX:%s"],
            &["XPORT:a"],
            &["graph.png"],
            &["/etc/passwd"],
            &["-"],
            &["--"],
            &["-rx"],
            &["-r", "-l"],
            &["-m", "1000"],
            &["--zoom=nan"],
            &["--rigid=5"],
            &["LINE2"],
            &["TXT\0:"],
            &["-\u{e9}"],
            &["- l0"],
            &["--unknown"],
            &["LINEDEF:a=x"],
            &[""],
        ] {
            assert!(of(raw).is_err(), "{raw:?}");
        }
        assert!(of(&["DEF:a=x:y:AVERAGE"]).unwrap_err().contains("vnamedefs"));
        assert!(of(&["-z"]).unwrap_err().contains("take it out"));
        assert!(of(&["LINE1:a"; ARGUMENTS + 1]).is_err() && of(&[&"-t".repeat(BYTES)]).is_err());
    }

    proptest! {
        #[test]
        fn only_what_is_on_the_list_gets_through(raw in proptest::collection::vec("(-{0,2}[a-z-]{0,12}|DEF|LINE1|AREA|-[a-zA-Z])[ =:]?[a-z/:0-9]{0,6}", 0..6)) {
            for one in checked(&raw).unwrap_or_default() {
                match one.strip_prefix("--") {
                    Some(option) => {
                        let name = option.split('=').next().unwrap();
                        prop_assert!(OPTIONS.iter().any(|(known, _, takes)| *known == name && matches!(takes, Takes::Value | Takes::Nothing)), "{one}");
                    }
                    None => prop_assert!(element(&one).is_ok() && !one.starts_with('-') && !one.starts_with("DEF"), "{one}"),
                }
            }
        }
    }
}
