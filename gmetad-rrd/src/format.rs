//! The layout of an RRD file, versions "0003" and "0004", as bytes: no I/O.
//!
//! All numbers are little-endian 64-bit words, as librrd writes them on 64-bit Linux:
//!
//! | part | bytes | content |
//! |---|---|---|
//! | head | 128 | cookie `RRD\0`, version, at 16 a double as architecture cookie, DS count 24, RRA count 32, step 40 |
//! | each DS | 120 | name (20), type (20), heartbeat, min, max |
//! | each RRA | 120 | CF (20, padded to 24), rows, PDPs a row, xff |
//! | live head | 16 | last update: seconds, microseconds |
//! | each DS | 112 | last text (30, padded to 32), unknown seconds, value of the PDP in progress |
//! | each RRA × DS | 80 | value of the CDP in progress, unknown PDPs, …, at 64 primary, at 72 secondary value |
//! | each RRA | 8 | row written last |
//! | each RRA | rows × DS × 8 | the rows |
//!
//! The parts before the live head never change in an update ([`Layout`]), those after it are the [`State`].

use thiserror::Error;

use crate::schema::{Cf, DsKind, DsSpec, MAX_DS, MAX_RRAS, RraSpec, Schema, SchemaError};

/// The NaN librrd stores on x86-64: with the sign bit set. Every NaN is written so.
pub const NAN: f64 = f64::from_bits(0xfff8_0000_0000_0000);

/// Bytes of the head, enough for [`header_size`].
pub const HEAD: usize = 128;
const DS: usize = 120;
const RRA: usize = 120;
const LIVE: usize = 16;
const PDP: usize = 112;
const CDP: usize = 80;
/// Bytes of the text of the last value, including the final NUL.
pub const LAST_DS: usize = 30;

const COOKIE: &[u8; 4] = b"RRD\0";
/// 8.642135e130 at offset 16: reads otherwise on another byte order or word size.
const FLOAT_COOKIE: [u8; 8] = [0x2f, 0x25, 0xc0, 0xc7, 0x43, 0x2b, 0x1f, 0x5b];

/// Why bytes are not an RRD file this crate can write.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormatError {
    /// Another kind of file.
    #[error("not an RRD file (no RRD cookie): remove it or move it away, it will be made anew")]
    NotRrd,
    /// Another version of the format.
    #[error("RRD version {0:?} is not supported (0003 and 0004 are): convert it with rrdtool dump and restore")]
    Version(String),
    /// Written on a machine of another byte order or word size.
    #[error("RRD file of another architecture: convert it with rrdtool dump there and restore here")]
    Architecture,
    /// The bytes end too early.
    #[error("damaged: {have} bytes where {need} belong; restore it from a backup or remove it")]
    Truncated {
        /// Bytes there are.
        have: u64,
        /// Bytes the header promises.
        need: u64,
    },
    /// A DS type only librrd handles.
    #[error("data source {name:?} has type {kind:?}, which needs librrd")]
    DsKind {
        /// Name of the DS.
        name: String,
        /// Its type.
        kind: String,
    },
    /// A consolidation function only librrd handles.
    #[error("archive {index} has consolidation function {cf:?}, which needs librrd")]
    Cf {
        /// Number of the RRA.
        index: usize,
        /// Its CF.
        cf: String,
    },
    /// A word that librrd does not know either.
    #[error("damaged: {what} is {word:?}; restore it from a backup or remove it")]
    Word {
        /// Which field.
        what: &'static str,
        /// What stands there.
        word: String,
    },
    /// A number that cannot be.
    #[error("damaged: {what} is {value}; restore it from a backup or remove it")]
    Damaged {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// A combination that cannot be.
    #[error("damaged: {0}; restore it from a backup or remove it")]
    Schema(#[from] SchemaError),
}

/// A [`Schema`] and where its parts are in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    schema: Schema,
    /// The encoded bytes before the live head, to recognise a file of this layout without parsing.
    fixed: Vec<u8>,
    rra_start: Vec<u64>,
    header_size: usize,
    file_size: u64,
}

/// The PDP in progress of one DS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pdp {
    /// Text of the last value, NUL-padded.
    pub last_ds: [u8; LAST_DS],
    /// Seconds of the step in progress that are unknown.
    pub unknown_sec: u64,
    /// Rate × seconds gathered so far; NaN: none.
    pub value: f64,
}

/// The CDP in progress of one RRA and DS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cdp {
    /// Sum, smallest, largest or latest PDP so far; NaN: none.
    pub value: f64,
    /// PDPs that were unknown.
    pub unknown: u64,
    /// Value of the row completed last.
    pub primary: f64,
    /// Value of the rows after it, when one update completes several.
    pub secondary: f64,
}

/// The part of the header that updates change.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Seconds since 1970 of the last update.
    pub last_update: i64,
    /// Its microseconds; 0 unless another program updated with fractions.
    pub last_usec: i64,
    /// One a DS.
    pub pdp: Vec<Pdp>,
    /// RRA by RRA, one a DS.
    pub cdp: Vec<Cdp>,
    /// One an RRA: the row written last.
    pub cur_row: Vec<u64>,
}

impl Layout {
    /// The layout of new files of that schema.
    ///
    /// # Errors
    /// [`SchemaError`] if a bound is exceeded.
    pub fn new(schema: Schema) -> Result<Self, SchemaError> {
        schema.check()?;
        let fixed = encode_fixed(&schema);
        Ok(Self::of(schema, fixed))
    }

    fn of(schema: Schema, fixed: Vec<u8>) -> Self {
        let (ds, rras) = (schema.ds.len(), schema.rras.len());
        let header_size = fixed.len() + LIVE + ds * PDP + rras * ds * CDP + rras * 8;
        let mut end = header_size as u64;
        let mut rra_start = Vec::with_capacity(rras);
        for rra in &schema.rras {
            rra_start.push(end);
            end += rra.rows * 8 * ds as u64;
        }
        Self { schema, fixed, rra_start, header_size, file_size: end }
    }

    /// Step, data sources and archives.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// "0003" or "0004".
    pub fn version(&self) -> &str {
        std::str::from_utf8(&self.fixed[4..8]).unwrap_or("")
    }

    /// Bytes before the rows.
    pub fn header_size(&self) -> usize {
        self.header_size
    }

    /// Bytes of the whole file.
    pub fn file_size(&self) -> u64 {
        self.file_size
    }

    /// Offset of the live head: what updates rewrite runs from here to [`Layout::header_size`].
    pub fn state_start(&self) -> usize {
        self.fixed.len()
    }

    /// Offset in the file of a row of an archive. Both must exist.
    pub fn row_offset(&self, rra: usize, row: u64) -> u64 {
        self.rra_start[rra] + row * 8 * self.schema.ds.len() as u64
    }

    /// Bytes of a row of any archive.
    pub fn row_size(&self) -> usize {
        self.schema.ds.len() * 8
    }

    /// Whether a file that begins with these bytes has this layout.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(&self.fixed)
    }

    /// Reads the changing part; `bytes` begin at the start of the file.
    ///
    /// # Errors
    /// [`FormatError::Truncated`], or [`FormatError::Damaged`] for a current row that does not exist.
    pub fn decode_state(&self, bytes: &[u8]) -> Result<State, FormatError> {
        if bytes.len() < self.header_size {
            return Err(FormatError::Truncated { have: bytes.len() as u64, need: self.header_size as u64 });
        }
        let (ds, rras) = (self.schema.ds.len(), self.schema.rras.len());
        let live = self.fixed.len();
        let pdp_at = live + LIVE;
        let cdp_at = pdp_at + ds * PDP;
        let row_at = cdp_at + rras * ds * CDP;
        let pdp = (0..ds).map(|i| read_pdp(&bytes[pdp_at + i * PDP..])).collect();
        let cdp = (0..rras * ds).map(|i| read_cdp(&bytes[cdp_at + i * CDP..])).collect();
        let cur_row: Vec<u64> = (0..rras).map(|i| word(bytes, row_at + i * 8)).collect();
        for (rra, &row) in self.schema.rras.iter().zip(&cur_row) {
            if row >= rra.rows {
                return Err(FormatError::Damaged { what: "the current row of an archive", value: row });
            }
        }
        let last_update = time(word(bytes, live))?;
        // Microseconds out of range would give a negative interval.
        let last_usec = word(bytes, live + 8).min(999_999).cast_signed();
        Ok(State { last_update, last_usec, pdp, cdp, cur_row })
    }

    /// Appends the changing part as bytes: what belongs at [`Layout::state_start`].
    pub fn encode_state(&self, state: &State, out: &mut Vec<u8>) {
        out.extend_from_slice(&state.last_update.to_le_bytes());
        out.extend_from_slice(&state.last_usec.to_le_bytes());
        for pdp in &state.pdp {
            let start = out.len();
            out.extend_from_slice(&pdp.last_ds);
            out.extend_from_slice(&[0; 2]);
            out.extend_from_slice(&pdp.unknown_sec.to_le_bytes());
            push_f64(out, pdp.value);
            out.resize(start + PDP, 0);
        }
        for cdp in &state.cdp {
            let start = out.len();
            push_f64(out, cdp.value);
            out.extend_from_slice(&cdp.unknown.to_le_bytes());
            out.resize(start + 64, 0);
            push_f64(out, cdp.primary);
            push_f64(out, cdp.secondary);
        }
        for row in &state.cur_row {
            out.extend_from_slice(&row.to_le_bytes());
        }
    }

    /// The bytes of a fresh file, and its state: every row unknown, last update at `start` (seconds since 1970).
    ///
    /// librrd starts each archive at a random row so that files made together do not all begin a new disk page at the
    /// same update. `seed` (say, a hash of the path) takes the place of chance: the same effect, and repeatable.
    pub fn image(&self, start: i64, seed: u64) -> (Vec<u8>, State) {
        let state = self.fresh(start, seed);
        let mut out = Vec::with_capacity(usize::try_from(self.file_size).unwrap_or_default());
        out.extend_from_slice(&self.fixed);
        self.encode_state(&state, &mut out);
        let rows = self.file_size - self.header_size as u64;
        for _ in 0..rows / 8 {
            push_f64(&mut out, NAN);
        }
        (out, state)
    }

    /// The state of [`Layout::image`] without its rows.
    pub fn fresh(&self, start: i64, seed: u64) -> State {
        let Schema { step, ds, rras } = &self.schema;
        let start = start.max(0);
        let since_1970 = start.cast_unsigned();
        let mut last_ds = [0; LAST_DS];
        last_ds[0] = b'U';
        let pdp = Pdp { last_ds, unknown_sec: since_1970 % step, value: NAN };
        let cdp =
            |rra: &RraSpec| Cdp { value: NAN, unknown: since_1970 / step % rra.steps, primary: 0.0, secondary: 0.0 };
        let cdp = rras.iter().flat_map(|rra| std::iter::repeat_n(cdp(rra), ds.len())).collect();
        let mut mixed = seed;
        let cur_row = rras
            .iter()
            .map(|rra| {
                mixed = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) ^ 0x5bf0_3635;
                mixed % rra.rows
            })
            .collect();
        State { last_update: start, last_usec: 0, pdp: vec![pdp; ds.len()], cdp, cur_row }
    }
}

/// The bytes before the rows, from the first [`HEAD`] bytes; to know how much to read for [`parse`].
///
/// # Errors
/// [`FormatError`] if this is no RRD file of a supported version, or the counts are out of bounds.
pub fn header_size(head: &[u8]) -> Result<usize, FormatError> {
    let (ds, rras) = counts(head)?;
    Ok(HEAD + ds * (DS + PDP) + rras * (RRA + 8) + LIVE + rras * ds * CDP)
}

/// Reads the header of a file of `file_size` bytes; `bytes` must reach to its end (see [`header_size`]).
///
/// # Errors
/// [`FormatError`] by cause.
pub fn parse(bytes: &[u8], file_size: u64) -> Result<(Layout, State), FormatError> {
    let need = header_size(bytes)?;
    if bytes.len() < need {
        return Err(FormatError::Truncated { have: bytes.len() as u64, need: need as u64 });
    }
    let schema = decode_fixed(bytes)?;
    let fixed = bytes[..HEAD + schema.ds.len() * DS + schema.rras.len() * RRA].to_vec();
    let layout = Layout::of(schema, fixed);
    if file_size < layout.file_size {
        return Err(FormatError::Truncated { have: file_size, need: layout.file_size });
    }
    let state = layout.decode_state(bytes)?;
    Ok((layout, state))
}

/// The bounds that the arithmetic needs. Not the whole of [`Schema::check`]: `rrdtool tune` allows more (equal limits, an xff
/// of 1, NaN), and such a file must go on working.
fn plausible(schema: &Schema) -> Result<(), FormatError> {
    use crate::schema::{MAX_FILE_SIZE, MAX_ROWS, MAX_SECONDS, MAX_STEPS};
    let bounded = |what, value: u64, most: u64| {
        if (1..=most).contains(&value) { Ok(()) } else { Err(FormatError::Damaged { what, value }) }
    };
    bounded("the step", schema.step, MAX_SECONDS)?;
    let mut rows = 0;
    for rra in &schema.rras {
        bounded("the row count of an archive", rra.rows, MAX_ROWS)?;
        bounded("the PDPs a row of an archive", rra.steps, MAX_STEPS)?;
        rows += rra.rows;
    }
    let size = rows * 8 * schema.ds.len() as u64;
    if size > MAX_FILE_SIZE { Err(SchemaError::TooLarge(size).into()) } else { Ok(()) }
}

fn counts(head: &[u8]) -> Result<(usize, usize), FormatError> {
    if !head.starts_with(COOKIE) {
        return Err(FormatError::NotRrd);
    }
    if head.len() < HEAD {
        return Err(FormatError::Truncated { have: head.len() as u64, need: HEAD as u64 });
    }
    if head[16..24] != FLOAT_COOKIE {
        return Err(FormatError::Architecture);
    }
    if !matches!(&head[4..9], b"0003\0" | b"0004\0") {
        return Err(FormatError::Version(name(&head[4..9])));
    }
    let bounded = |what, value, most: usize| match usize::try_from(value) {
        Ok(count) if (1..=most).contains(&count) => Ok(count),
        _ => Err(FormatError::Damaged { what, value }),
    };
    Ok((
        bounded("the number of data sources", word(head, 24), MAX_DS)?,
        bounded("the number of archives", word(head, 32), MAX_RRAS)?,
    ))
}

/// The schema that the unchanging part of a header describes.
pub(crate) fn decode_fixed(bytes: &[u8]) -> Result<Schema, FormatError> {
    let (ds_count, rra_count) = counts(bytes)?;
    let need = HEAD + ds_count * DS + rra_count * RRA;
    if bytes.len() < need {
        return Err(FormatError::Truncated { have: bytes.len() as u64, need: need as u64 });
    }
    let step = word(bytes, 40);
    let mut ds = Vec::with_capacity(ds_count);
    for i in 0..ds_count {
        let at = HEAD + i * DS;
        let (name, kind) = (name(&bytes[at..at + 20]), name(&bytes[at + 20..at + 40]));
        let kind = DsKind::from_name(&kind).ok_or_else(|| match &*kind {
            "COMPUTE" | "DCOUNTER" | "DDERIVE" => FormatError::DsKind { name: name.clone(), kind },
            _ => FormatError::Word { what: "the type of a data source", word: kind },
        })?;
        let (heartbeat, min, max) = (word(bytes, at + 40), double(bytes, at + 48), double(bytes, at + 56));
        ds.push(DsSpec { name, kind, heartbeat, min, max });
    }
    let mut rras = Vec::with_capacity(rra_count);
    for index in 0..rra_count {
        let at = HEAD + ds_count * DS + index * RRA;
        let cf = name(&bytes[at..at + 20]);
        let cf = Cf::from_name(&cf).ok_or_else(|| match &*cf {
            "HWPREDICT" | "MHWPREDICT" | "SEASONAL" | "DEVPREDICT" | "DEVSEASONAL" | "FAILURES" => {
                FormatError::Cf { index, cf }
            }
            _ => FormatError::Word { what: "the consolidation function of an archive", word: cf },
        })?;
        let (rows, steps, xff) = (word(bytes, at + 24), word(bytes, at + 32), double(bytes, at + 40));
        rras.push(RraSpec { cf, xff, steps, rows });
    }
    let schema = Schema { step, ds, rras };
    plausible(&schema)?;
    Ok(schema)
}

/// The unchanging part of a header.
pub(crate) fn encode_fixed(schema: &Schema) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + schema.ds.len() * DS + schema.rras.len() * RRA);
    out.extend_from_slice(COOKIE);
    out.extend_from_slice(b"0003\0");
    out.resize(16, 0);
    out.extend_from_slice(&FLOAT_COOKIE);
    for value in [schema.ds.len() as u64, schema.rras.len() as u64, schema.step] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    out.resize(HEAD, 0);
    for ds in &schema.ds {
        let start = out.len();
        push_name(&mut out, &ds.name, 20);
        push_name(&mut out, ds.kind.name(), 20);
        out.extend_from_slice(&ds.heartbeat.to_le_bytes());
        push_f64(&mut out, ds.min);
        push_f64(&mut out, ds.max);
        out.resize(start + DS, 0);
    }
    for rra in &schema.rras {
        let start = out.len();
        push_name(&mut out, rra.cf.name(), 24);
        out.extend_from_slice(&rra.rows.to_le_bytes());
        out.extend_from_slice(&rra.steps.to_le_bytes());
        push_f64(&mut out, rra.xff);
        out.resize(start + RRA, 0);
    }
    out
}

fn read_pdp(bytes: &[u8]) -> Pdp {
    let mut last_ds = [0; LAST_DS];
    last_ds.copy_from_slice(&bytes[..LAST_DS]);
    last_ds[LAST_DS - 1] = 0;
    Pdp { last_ds, unknown_sec: word(bytes, 32), value: double(bytes, 40) }
}

fn read_cdp(bytes: &[u8]) -> Cdp {
    Cdp { value: double(bytes, 0), unknown: word(bytes, 8), primary: double(bytes, 64), secondary: double(bytes, 72) }
}

/// Times later than the year 10000 are damage, and would overflow later sums.
fn time(word: u64) -> Result<i64, FormatError> {
    match i64::try_from(word) {
        Ok(seconds) if seconds < 253_402_300_800 => Ok(seconds),
        _ => Err(FormatError::Damaged { what: "the time of the last update", value: word }),
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

pub(crate) fn double(bytes: &[u8], at: usize) -> f64 {
    f64::from_bits(word(bytes, at))
}

pub(crate) fn push_f64(out: &mut Vec<u8>, value: f64) {
    let value = if value.is_nan() { NAN } else { value };
    out.extend_from_slice(&value.to_le_bytes());
}

fn push_name(out: &mut Vec<u8>, name: &str, width: usize) {
    let end = out.len() + width;
    out.extend_from_slice(name.as_bytes());
    out.resize(end, 0);
}

fn name(field: &[u8]) -> String {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ganglia() -> Layout {
        Layout::new(Schema::host(15, DsKind::Gauge, &Schema::ganglia_rras())).unwrap()
    }

    #[test]
    fn sizes_are_those_of_ganglia_files() {
        let rras = Schema::ganglia_rras();
        let one = ganglia();
        let two = Layout::new(Schema::summary(15, DsKind::Gauge, DsKind::Gauge, &rras)).unwrap();
        assert_eq!((one.state_start(), one.header_size(), one.file_size()), (608, 1000, 630_760));
        assert_eq!((two.header_size(), two.file_size()), (1472, 1_260_992));
        assert_eq!(one.image(1_000_000_000, 7).0.len() as u64, one.file_size());
    }

    #[test]
    fn an_image_parses_back() {
        let layout = ganglia();
        let (image, _) = layout.image(1_000_000_000, 7);
        let (parsed, state) = parse(&image, image.len() as u64).unwrap();
        assert_eq!(parsed, layout);
        assert_eq!((state.last_update, state.pdp[0].unknown_sec), (1_000_000_000, 10));
        let mut again = Vec::new();
        layout.encode_state(&state, &mut again);
        assert_eq!(again, image[608..1000]);
    }

    #[test]
    fn damage_is_named_by_cause() {
        let (image, _) = ganglia().image(1_000_000_000, 7);
        let size = image.len() as u64;
        let with = |at: usize, bytes: &[u8]| {
            let mut damaged = image[..1000].to_vec();
            damaged[at..at + bytes.len()].copy_from_slice(bytes);
            parse(&damaged, size).unwrap_err()
        };
        assert_eq!(parse(b"", 0), Err(FormatError::NotRrd));
        assert_eq!(with(0, b"GIF8"), FormatError::NotRrd);
        assert_eq!(with(4, b"0001"), FormatError::Version("0001".into()));
        assert_eq!(with(16, &[0; 8]), FormatError::Architecture);
        assert!(matches!(with(24, &[0xff; 8]), FormatError::Damaged { what: "the number of data sources", .. }));
        assert!(matches!(with(148, b"COMPUTE\0"), FormatError::DsKind { .. }));
        assert!(matches!(with(248, b"HWPREDICT\0"), FormatError::Cf { index: 0, .. }));
        assert!(matches!(with(149, b"X"), FormatError::Word { word, .. } if word == "GXUGE"));
        assert!(matches!(with(248, b"MEAN\0"), FormatError::Word { word, .. } if word == "MEAN"));
        assert!(matches!(with(976, &[0xff; 8]), FormatError::Damaged { .. }), "current row");
        assert!(matches!(parse(&image, size - 8), Err(FormatError::Truncated { .. })));
        assert!(matches!(parse(&image[..900], size), Err(FormatError::Truncated { .. })));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(
            cut in 0usize..1100,
            changes in prop::collection::vec((0usize..1000, any::<u8>()), 0..12),
            size in prop_oneof![Just(630_760u64), any::<u64>()],
        ) {
            let (mut bytes, _) = ganglia().image(1_000_000_000, 7);
            bytes.truncate(1024);
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            bytes.truncate(cut);
            let _ = header_size(&bytes);
            let _ = parse(&bytes, size);
        }
    }
}
