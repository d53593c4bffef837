//! Forwards the C symbols that the `rrd` crate links against to a librrd opened at run time.
//!
//! The `rrd` crate expects librrd at link time. This crate exports the ten functions it calls and passes each on to
//! `librrd.so.8`, opened with `dlopen` at the first call. A program built so starts with and without librrd; without it
//! every call returns an error whose text is [`NOT_INSTALLED`].
//!
//! Use it as `use librrd_forward as _;` in the crate that calls `rrd`, or the linker leaves the symbols out.
//!
//! Drawing graphs from several threads crashes librrd 1.7.2 (its font map is shared until 1.8.0), so
//! `rrd_graph_v` runs under one lock of the process. The other functions keep their errors per thread.
#![allow(unsafe_code)] // a C interface cannot be had without; each block says why it holds

use std::error::Error as _;
use std::ffi::{CStr, CString, c_char, c_double, c_int, c_long, c_ulong, c_void};
use std::ptr::null_mut;
use std::sync::{Mutex, OnceLock, PoisonError};

use libloading::Library;

/// What every call answers when librrd cannot be opened.
pub const NOT_INSTALLED: &str = "librrd is not installed (Debian package librrd8)";

const NOT_INSTALLED_C: &CStr = c"librrd is not installed (Debian package librrd8)";
const NO_VERSION: &CStr = c"not installed";

/// The sonames tried, in this order: the one of rrdtool 1.5 to 1.9, then whatever a development package points to.
const SONAMES: [&str; 2] = ["librrd.so.8", "librrd.so"];

/// Seconds since 1970 as librrd takes them; `time_t` is a C `long` on the 64-bit Linux targets supported here.
type TimeT = c_long;

type CreateR2 = unsafe extern "C" fn(
    *const c_char,
    c_ulong,
    TimeT,
    c_int,
    *mut *const c_char,
    *const c_char,
    c_int,
    *mut *const c_char,
) -> c_int;
type UpdatexR = unsafe extern "C" fn(*const c_char, *const c_char, c_int, c_int, *mut *const c_char) -> c_int;
type FetchR = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    *mut TimeT,
    *mut TimeT,
    *mut c_ulong,
    *mut c_ulong,
    *mut *mut *mut c_char,
    *mut *mut c_double,
) -> c_int;
type InfoR = unsafe extern "C" fn(*const c_char) -> *mut c_void;
type InfoFree = unsafe extern "C" fn(*mut c_void);
type GraphV = unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut c_void;
type Freemem = unsafe extern "C" fn(*mut c_void);
type GetError = unsafe extern "C" fn() -> *mut c_char;
type ClearError = unsafe extern "C" fn();
type Strversion = unsafe extern "C" fn() -> *mut c_char;

struct Api {
    create_r2: CreateR2,
    updatex_r: UpdatexR,
    fetch_r: FetchR,
    info_r: InfoR,
    info_free: InfoFree,
    graph_v: GraphV,
    freemem: Freemem,
    get_error: GetError,
    clear_error: ClearError,
    strversion: Strversion,
}

/// Opens librrd if that has not been tried yet, and says whether calls can work.
///
/// # Errors
/// [`NOT_INSTALLED`] followed by the dynamic linker's own words. The answer is final for this process.
pub fn available() -> Result<(), String> {
    api().as_ref().map(|_| ()).map_err(|reason| format!("{NOT_INSTALLED}: {reason}"))
}

fn api() -> &'static Result<Api, String> {
    static API: OnceLock<Result<Api, String>> = OnceLock::new();
    API.get_or_init(load)
}

fn loaded() -> Option<&'static Api> {
    api().as_ref().ok()
}

fn load() -> Result<Api, String> {
    let mut reason = String::new();
    for soname in SONAMES {
        // SAFETY: opening a library runs its initialisers; librrd's and those of the libraries it needs only set up
        // their own tables.
        match unsafe { Library::new(soname) } {
            // Never unloaded: glib and pango, which come with it, do not support that.
            Ok(library) => return resolve(Box::leak(Box::new(library))).map_err(|e| words(&e)),
            Err(e) if reason.is_empty() => reason = words(&e),
            Err(_) => {}
        }
    }
    Err(reason)
}

/// The dynamic linker's words are in the source of the error.
fn words(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| source.to_string())
}

fn resolve(library: &'static Library) -> Result<Api, libloading::Error> {
    // SAFETY: the types above are those of rrd.h, unchanged from 1.5 (rrd_create_r2, rrd_updatex_r) to 1.9; the library
    // is leaked, so the functions stay mapped as long as the copies made here live.
    unsafe {
        Ok(Api {
            create_r2: *library.get::<CreateR2>(b"rrd_create_r2\0")?,
            updatex_r: *library.get::<UpdatexR>(b"rrd_updatex_r\0")?,
            fetch_r: *library.get::<FetchR>(b"rrd_fetch_r\0")?,
            info_r: *library.get::<InfoR>(b"rrd_info_r\0")?,
            info_free: *library.get::<InfoFree>(b"rrd_info_free\0")?,
            graph_v: *library.get::<GraphV>(b"rrd_graph_v\0")?,
            freemem: *library.get::<Freemem>(b"rrd_freemem\0")?,
            get_error: *library.get::<GetError>(b"rrd_get_error\0")?,
            clear_error: *library.get::<ClearError>(b"rrd_clear_error\0")?,
            strversion: *library.get::<Strversion>(b"rrd_strversion\0")?,
        })
    }
}

/// Exports one function of librrd under its C name; `$absent` is its answer without librrd.
macro_rules! forward {
    ($name:ident, $field:ident, ($($arg:ident: $type:ty),*) $(-> $ret:ty)?, $absent:expr) => {
        #[doc = concat!("`", stringify!($name), "` of librrd; see `rrd.h` for its arguments.")]
        ///
        /// # Safety
        /// What librrd itself asks of its caller: valid pointers, NUL-terminated strings, `argc` elements in `argv`.
        // SAFETY (no_mangle): nothing else in the program defines this symbol, librrd being opened and not linked; its own
        // inner calls may land here and come back through the pointer resolved above, which is the same function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $type),*) $(-> $ret)? {
            match loaded() {
                // SAFETY: the arguments are the caller's, passed on unchanged to the function they were meant for.
                Some(api) => unsafe { (api.$field)($($arg),*) },
                None => $absent,
            }
        }
    };
}

forward!(rrd_create_r2, create_r2, (
    file: *const c_char, step: c_ulong, last_up: TimeT, no_overwrite: c_int, sources: *mut *const c_char,
    template: *const c_char, argc: c_int, argv: *mut *const c_char) -> c_int, -1);
forward!(rrd_updatex_r, updatex_r, (
    file: *const c_char, template: *const c_char, flags: c_int, argc: c_int, argv: *mut *const c_char) -> c_int, -1);
forward!(rrd_fetch_r, fetch_r, (
    file: *const c_char, cf: *const c_char, start: *mut TimeT, end: *mut TimeT, step: *mut c_ulong,
    ds_cnt: *mut c_ulong, ds_names: *mut *mut *mut c_char, data: *mut *mut c_double) -> c_int, -1);
forward!(rrd_info_r, info_r, (file: *const c_char) -> *mut c_void, null_mut());
forward!(rrd_info_free, info_free, (info: *mut c_void), ());
forward!(rrd_freemem, freemem, (memory: *mut c_void), ());
forward!(rrd_get_error, get_error, () -> *mut c_char, NOT_INSTALLED_C.as_ptr().cast_mut());
forward!(rrd_clear_error, clear_error, (), ());
forward!(rrd_strversion, strversion, () -> *mut c_char, NO_VERSION.as_ptr().cast_mut());

/// `rrd_graph_v` of librrd, one at a time in the whole process.
///
/// # Safety
/// `argv` must hold `argc` valid, NUL-terminated strings.
// SAFETY (no_mangle): as for the functions above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rrd_graph_v(argc: c_int, argv: *mut *mut c_char) -> *mut c_void {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    match loaded() {
        // SAFETY: the arguments are the caller's, passed on unchanged.
        Some(api) => unsafe { (api.graph_v)(argc, argv) },
        None => null_mut(),
    }
}

/// An entry of the list that `rrd_graph_v` and `rrd_info_r` return (`rrd_info_t`).
#[repr(C)]
struct Info {
    key: *const c_char,
    kind: c_int,
    value: InfoValue,
    next: *const Info,
}

/// `rrd_infoval_t`: which member holds, `kind` says.
#[repr(C)]
union InfoValue {
    number: c_double,
    count: c_ulong,
    text: *const c_char,
    integer: c_int,
    blob: Blob,
}

/// `rrd_blob_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Blob {
    size: c_ulong,
    bytes: *const u8,
}

/// `RD_I_BLO`: the value is a [`Blob`].
const BLOB: c_int = 4;

/// Draws a picture with raw arguments of rrdgraph, as `rrdtool graph - ARGUMENT…` does: the typed builder of the `rrd` crate takes
/// none. One at a time in the whole process; a picture that librrd crashes on takes the process with it.
///
/// # Errors
/// librrd's text, [`NOT_INSTALLED`], or that there was nothing to draw.
pub fn graph(arguments: &[CString]) -> Result<Vec<u8>, String> {
    available()?;
    let mut argv: Vec<*mut c_char> = [c"graphv", c"-"].map(|word| word.as_ptr().cast_mut()).to_vec();
    argv.extend(arguments.iter().map(|argument| argument.as_ptr().cast_mut()));
    let argc = c_int::try_from(argv.len()).map_err(|_| "too many arguments".to_owned())?;
    // SAFETY: `argc` pointers to NUL-terminated strings that outlive the call. librrd permutes the array, which is ours, and
    // does not write to the strings.
    let list = unsafe { rrd_graph_v(argc, argv.as_mut_ptr()) };
    if list.is_null() {
        // SAFETY: the pointer, unless null, is a NUL-terminated string that stays until the next call of this thread.
        let text = unsafe { rrd_get_error().as_ref().map(|text| CStr::from_ptr(text).to_string_lossy().into_owned()) };
        // SAFETY: no arguments.
        unsafe { rrd_clear_error() };
        return Err(text
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| "librrd draws nothing and does not say why".to_owned()));
    }
    let mut image = None;
    let mut next: *const Info = list.cast();
    // SAFETY: `next` is an entry of the list, or null at its end; entries live until the list is freed below.
    while let Some(entry) = unsafe { next.as_ref() } {
        // SAFETY: keys are NUL-terminated strings.
        let is_image = entry.kind == BLOB && unsafe { CStr::from_ptr(entry.key) } == c"image";
        if is_image {
            // SAFETY: `kind` says that the value is a blob: `size` bytes at `bytes`.
            image = Some(unsafe {
                let Blob { size, bytes } = entry.value.blob;
                if bytes.is_null() || size == 0 {
                    Vec::new()
                } else {
                    std::slice::from_raw_parts(bytes, size as usize).to_vec()
                }
            });
        }
        next = entry.next;
    }
    // SAFETY: the list came from librrd and is not used any more.
    unsafe { rrd_info_free(list) };
    image.filter(|image| !image.is_empty()).ok_or_else(|| "librrd made no picture: nothing is to be drawn".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_there_is_no_picture() {
        let words = |words: &[&CStr]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let failed = graph(&words(&[c"DEF:a=/nonexistent/x.rrd:value:AVERAGE", c"LINE1:a#000000"]));
        match available() {
            Ok(()) => assert!(failed.is_err_and(|text| text.contains("/nonexistent/x.rrd"))),
            Err(_) => assert!(failed.is_err_and(|text| text.starts_with(NOT_INSTALLED))),
        }
    }

    #[test]
    fn answers_with_and_without_librrd() {
        // SAFETY: no arguments; both functions return a NUL-terminated string (or null for "no error").
        let version = unsafe { CStr::from_ptr(rrd_strversion()) }.to_string_lossy().into_owned();
        // SAFETY: a valid string; librrd answers null for a file that does not exist.
        let info = unsafe { rrd_info_r(c"/nonexistent/x.rrd".as_ptr()) };
        assert!(info.is_null());
        // SAFETY: an error is pending in this thread, so the pointer is a NUL-terminated string.
        let error = unsafe { CStr::from_ptr(rrd_get_error()) }.to_string_lossy().into_owned();
        match available() {
            Ok(()) => assert!(version.starts_with("1.") && error.contains("/nonexistent/x.rrd"), "{version}: {error}"),
            Err(reason) => {
                assert!(reason.starts_with(NOT_INSTALLED), "{reason}");
                assert_eq!((version.as_str(), error.as_str()), ("not installed", NOT_INSTALLED));
            }
        }
    }
}
