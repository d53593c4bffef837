//! What an RRD file is made of: its step, its data sources (DS) and its archives (RRA).
//!
//! The words are those of `rrdcreate(1)`: `RRA:CF:xff:steps:rows` and `DS:name:TYPE:heartbeat:min:max`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Most rows of one archive; 20 million rows of one DS are 160 MB.
pub const MAX_ROWS: u64 = 20_000_000;
/// Most PDPs consolidated into one row: three years of one-second steps.
pub const MAX_STEPS: u64 = 100_000_000;
/// Most archives of one file.
pub const MAX_RRAS: usize = 100;
/// Most data sources of one file.
pub const MAX_DS: usize = 256;
/// Longest step and heartbeat in seconds (ten years), so that sums of times cannot overflow.
pub const MAX_SECONDS: u64 = 315_360_000;
/// Largest file, in bytes.
pub const MAX_FILE_SIZE: u64 = 1 << 30;

/// Consolidation function (CF) of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cf {
    /// Mean of the known PDPs.
    Average,
    /// Smallest PDP.
    Min,
    /// Largest PDP.
    Max,
    /// Latest PDP.
    Last,
}

impl Cf {
    /// The name as the file and `rrdtool` spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Average => "AVERAGE",
            Self::Min => "MIN",
            Self::Max => "MAX",
            Self::Last => "LAST",
        }
    }

    /// The CF of that name, if it is one of the four supported ones.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Average, Self::Min, Self::Max, Self::Last].into_iter().find(|cf| cf.name() == name)
    }
}

/// Type of a data source (DST).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DsKind {
    /// The value as it is.
    Gauge,
    /// Rate of a growing integer; a decrease is a wrap at 32 or 64 bit.
    Counter,
    /// Rate of an integer that may also fall.
    Derive,
    /// Rate of a value that is reset at each reading.
    Absolute,
}

impl DsKind {
    /// The name as the file and `rrdtool` spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gauge => "GAUGE",
            Self::Counter => "COUNTER",
            Self::Derive => "DERIVE",
            Self::Absolute => "ABSOLUTE",
        }
    }

    /// The type of that name, if it is one of the four supported ones.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Gauge, Self::Counter, Self::Derive, Self::Absolute].into_iter().find(|kind| kind.name() == name)
    }
}

/// One archive: every `steps` PDPs give one of `rows` rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RraSpec {
    /// Consolidation function.
    pub cf: Cf,
    /// The largest part of unknown PDPs a known row may have, `0.0 <= xff < 1.0`.
    pub xff: f64,
    /// PDPs a row.
    pub steps: u64,
    /// Rows in the archive.
    pub rows: u64,
}

/// One data source.
#[derive(Debug, Clone)]
pub struct DsSpec {
    /// 1 to 19 of `a-z A-Z 0-9 _ -`.
    pub name: String,
    /// Type.
    pub kind: DsKind,
    /// Seconds without an update after which the value is unknown.
    pub heartbeat: u64,
    /// Smallest rate taken as known; NaN: no limit.
    pub min: f64,
    /// Largest rate taken as known; NaN: no limit.
    pub max: f64,
}

impl PartialEq for DsSpec {
    /// Limits are compared by bits, "no limit" being a NaN.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.kind == other.kind
            && self.heartbeat == other.heartbeat
            && self.min.to_bits() == other.min.to_bits()
            && self.max.to_bits() == other.max.to_bits()
    }
}

/// The unchanging part of an RRD file.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// Seconds of one PDP.
    pub step: u64,
    /// Data sources, in the order of the values of an update.
    pub ds: Vec<DsSpec>,
    /// Archives.
    pub rras: Vec<RraSpec>,
}

/// What is wrong with a DS, an RRA or a whole schema; the text names the word and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// The text has another number of fields.
    #[error("\"{text}\" is not an archive: write RRA:CF:xff:steps:rows, as in RRA:AVERAGE:0.5:1:5856")]
    Fields {
        /// The whole text.
        text: String,
    },
    /// Unknown consolidation function.
    #[error("\"{word}\" in \"{text}\" is not a consolidation function: write AVERAGE, MIN, MAX or LAST")]
    Cf {
        /// The word.
        word: String,
        /// The whole text.
        text: String,
    },
    /// A number which is none or out of its bounds.
    #[error("{what} \"{word}\" in \"{text}\" must be {remedy}")]
    Number {
        /// Which field.
        what: &'static str,
        /// The word.
        word: String,
        /// The whole text.
        text: String,
        /// What to write instead.
        remedy: String,
    },
    /// A DS name librrd would refuse.
    #[error("data source name \"{0}\": use 1 to 19 letters, digits, '_' or '-'")]
    DsName(String),
    /// Two data sources of one name.
    #[error("data source name \"{0}\" is used twice: give each its own")]
    DsTwice(String),
    /// Limits the wrong way round.
    #[error("data source \"{0}\": min must be less than max")]
    Limits(String),
    /// Seconds out of bounds.
    #[error("{what} of {seconds} s: must be 1 to {MAX_SECONDS} s")]
    Seconds {
        /// "step" or "heartbeat".
        what: &'static str,
        /// The value given.
        seconds: u64,
    },
    /// No or too many DS or RRA.
    #[error("{count} {what}: must be 1 to {most}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// Upper bound.
        most: usize,
    },
    /// The file would be too large.
    #[error("the file would have {0} bytes, more than {MAX_FILE_SIZE}: use fewer rows")]
    TooLarge(u64),
}

impl Schema {
    /// Ganglia's default archives: a day of single steps, two weeks of 4, a year of 40 (reference: gmetad.conf `RRAs`).
    pub fn ganglia_rras() -> Vec<RraSpec> {
        [(1, 5856), (4, 20160), (40, 52704)]
            .map(|(steps, rows)| RraSpec { cf: Cf::Average, xff: 0.5, steps, rows })
            .to_vec()
    }

    /// A host metric's file as gmetad makes it: one DS `sum` without limits, heartbeat of 8 steps.
    pub fn host(step: u64, kind: DsKind, rras: &[RraSpec]) -> Self {
        Self { step, ds: vec![DsSpec::unlimited("sum", kind, step)], rras: rras.to_vec() }
    }

    /// A summary's file as gmetad makes it: `sum` of that kind, and `num`, the number of hosts.
    pub fn summary(step: u64, sum: DsKind, num: DsKind, rras: &[RraSpec]) -> Self {
        let ds = vec![DsSpec::unlimited("sum", sum, step), DsSpec::unlimited("num", num, step)];
        Self { step, ds, rras: rras.to_vec() }
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// The first [`SchemaError`] found.
    pub fn check(&self) -> Result<(), SchemaError> {
        seconds("step", self.step)?;
        count("data sources", self.ds.len(), MAX_DS)?;
        count("archives", self.rras.len(), MAX_RRAS)?;
        for (i, ds) in self.ds.iter().enumerate() {
            ds.check()?;
            if self.ds.iter().take(i).any(|other| other.name == ds.name) {
                return Err(SchemaError::DsTwice(ds.name.clone()));
            }
        }
        for rra in &self.rras {
            rra.check(&rra.to_string())?;
        }
        let values: u64 = self.rras.iter().map(|rra| rra.rows).sum::<u64>() * self.ds.len() as u64;
        if values > MAX_FILE_SIZE / 8 { Err(SchemaError::TooLarge(values.saturating_mul(8))) } else { Ok(()) }
    }
}

impl DsSpec {
    fn unlimited(name: &str, kind: DsKind, step: u64) -> Self {
        let none = crate::format::NAN;
        Self { name: name.to_owned(), kind, heartbeat: step.saturating_mul(8), min: none, max: none }
    }

    fn check(&self) -> Result<(), SchemaError> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if !(1..=19).contains(&self.name.len()) || !self.name.bytes().all(good) {
            return Err(SchemaError::DsName(self.name.clone()));
        }
        seconds("heartbeat", self.heartbeat)?;
        if self.min >= self.max { Err(SchemaError::Limits(self.name.clone())) } else { Ok(()) }
    }
}

impl RraSpec {
    /// Reads `RRA:CF:xff:steps:rows` where steps and rows may also be durations (`60s`, `10d`; units `s m h d w M y` as in
    /// `rrdcreate(1)`, librrd >= 1.5), which are counted in steps of `step` seconds.
    ///
    /// # Errors
    /// [`SchemaError`] naming the word.
    pub fn parse_at_step(text: &str, step: u64) -> Result<Self, SchemaError> {
        let fields: Vec<&str> = text.trim().split(':').collect();
        let &["RRA", cf, xff, steps, rows] = fields.as_slice() else {
            return Err(SchemaError::Fields { text: text.to_owned() });
        };
        let cf = Cf::from_name(cf).ok_or_else(|| SchemaError::Cf { word: cf.to_owned(), text: text.to_owned() })?;
        let xff = xff.parse().map_err(|_| wrong_xff(xff, text))?;
        let steps = amount("steps", steps, text, step, MAX_STEPS)?;
        let rows = amount("rows", rows, text, step.saturating_mul(steps), MAX_ROWS)?;
        let rra = Self { cf, xff, steps, rows };
        rra.check(text)?;
        Ok(rra)
    }

    fn check(&self, text: &str) -> Result<(), SchemaError> {
        if !(0.0..1.0).contains(&self.xff) {
            return Err(wrong_xff(&self.xff.to_string(), text));
        }
        for (what, value, most) in [("steps", self.steps, MAX_STEPS), ("rows", self.rows, MAX_ROWS)] {
            if !(1..=most).contains(&value) {
                return Err(wrong_amount(what, &value.to_string(), text, most));
            }
        }
        Ok(())
    }
}

impl FromStr for RraSpec {
    type Err = SchemaError;

    /// Reads `RRA:CF:xff:steps:rows` with plain counts; for durations see [`RraSpec::parse_at_step`].
    fn from_str(text: &str) -> Result<Self, SchemaError> {
        Self::parse_at_step(text, 0)
    }
}

impl fmt::Display for RraSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RRA:{}:{}:{}:{}", self.cf.name(), self.xff, self.steps, self.rows)
    }
}

/// A count, or a duration that is a whole number of `unit` seconds. `unit` 0: only counts.
fn amount(what: &'static str, word: &str, text: &str, unit: u64, most: u64) -> Result<u64, SchemaError> {
    let wrong = || wrong_amount(what, word, text, most);
    let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let seconds = match &word[digits.len()..] {
        "" => return Ok(number),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        "M" => 2_678_400,  // 31 days
        "y" => 31_622_400, // 366 days
        _ => return Err(wrong()),
    };
    let duration = number.checked_mul(seconds).ok_or_else(wrong)?;
    match duration.checked_rem(unit) {
        Some(0) => Ok(duration / unit),
        Some(_) => Err(SchemaError::Number {
            what,
            word: word.to_owned(),
            text: text.to_owned(),
            remedy: format!("a multiple of {unit} s"),
        }),
        None => Err(wrong()),
    }
}

fn wrong_amount(what: &'static str, word: &str, text: &str, most: u64) -> SchemaError {
    SchemaError::Number { what, word: word.to_owned(), text: text.to_owned(), remedy: format!("1 to {most}") }
}

fn wrong_xff(word: &str, text: &str) -> SchemaError {
    let remedy = "at least 0 and less than 1, usually 0.5".to_owned();
    SchemaError::Number { what: "xff", word: word.to_owned(), text: text.to_owned(), remedy }
}

fn seconds(what: &'static str, seconds: u64) -> Result<(), SchemaError> {
    if (1..=MAX_SECONDS).contains(&seconds) { Ok(()) } else { Err(SchemaError::Seconds { what, seconds }) }
}

fn count(what: &'static str, count: usize, most: usize) -> Result<(), SchemaError> {
    if (1..=most).contains(&count) { Ok(()) } else { Err(SchemaError::Count { what, count, most }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_counts_and_durations() {
        let rra: RraSpec = "RRA:AVERAGE:0.5:1:5856".parse().unwrap();
        assert_eq!(rra, Schema::ganglia_rras()[0]);
        let rra = RraSpec::parse_at_step("RRA:LAST:0:60s:10d", 10).unwrap();
        assert_eq!((rra.cf, rra.steps, rra.rows), (Cf::Last, 6, 14_400));
    }

    #[test]
    fn errors_name_the_word_and_the_remedy() {
        for (text, part) in [
            ("RRA:AVERAGE:0.5:1", "write RRA:CF:xff:steps:rows"),
            ("RRA:AVERAGE:0.5:1:2:3", "write RRA:CF:xff:steps:rows"),
            ("RRA:MEDIAN:0.5:1:2", "\"MEDIAN\" in"),
            ("RRA:MAX:1:1:2", "xff \"1\" in"),
            ("RRA:MAX:nan:1:2", "less than 1"),
            ("RRA:MAX:0.5:0:2", "steps \"0\" in"),
            ("RRA:MAX:0.5:1:0", "rows \"0\" in"),
            ("RRA:MAX:0.5:1:-5", "rows \"-5\" in"),
            ("RRA:MAX:0.5:1:99999999999999999999", "must be 1 to 20000000"),
            ("RRA:MAX:0.5:65s:10", "must be"),
        ] {
            let error = text.parse::<RraSpec>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let error = RraSpec::parse_at_step("RRA:MAX:0.5:65s:10", 10).unwrap_err().to_string();
        assert!(error.contains("\"65s\"") && error.contains("multiple of 10 s"), "{error}");
    }

    #[test]
    fn schemas_are_checked_as_librrd_does() {
        let good = Schema::host(15, DsKind::Gauge, &Schema::ganglia_rras());
        assert_eq!(good.check(), Ok(()));
        let name = |name: &str| {
            let mut schema = good.clone();
            schema.ds[0].name = name.to_owned();
            schema.check()
        };
        assert!(name("abcdefghijklmnopqrs").is_ok() && name("a-b").is_ok());
        assert!(name("abcdefghijklmnopqrst").is_err() && name("").is_err() && name("a b").is_err());
        let mut limits = good.clone();
        (limits.ds[0].min, limits.ds[0].max) = (5.0, 5.0);
        assert_eq!(limits.check(), Err(SchemaError::Limits("sum".into())));
        assert!(Schema { step: 0, ..good.clone() }.check().is_err());
        assert!(Schema { rras: vec![], ..good }.check().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(RRA:)?[A-Z]{0,8}(:[0-9a-z.+-]{0,22}){0,5}|\\PC*", step in 0u64..100) {
            if let Ok(rra) = RraSpec::parse_at_step(&text, step) {
                prop_assert_eq!(rra.to_string().parse::<RraSpec>(), Ok(rra));
            }
        }
    }
}
