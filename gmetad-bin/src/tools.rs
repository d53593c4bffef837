//! `gmetad --rrd-fsck` and `--rrd-prune`: reports on standard output, exit status 2 when the tree could not be looked at.

use std::error::Error;
use std::io::{BufWriter, Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use gmetad_rrd::tree::{self, Fsck, Prune, TreeError};

use crate::Fallible;

pub(crate) fn fsck(dir: &Path, repair: bool) -> ExitCode {
    let options = Fsck { repair, now: gmetad_core::now() };
    report(|out| tree::fsck(dir, options, out).map(|report| report.status()))
}

pub(crate) fn prune(dir: &Path, older_than: &str, move_files: bool) -> ExitCode {
    match tree::parse_age(older_than) {
        Ok(older_than) => {
            let options = Prune { older_than, move_files, now: gmetad_core::now() };
            report(|out| tree::prune(dir, options, out).map(|report| report.status()))
        }
        Err(e) => failed(&e),
    }
}

fn report(work: impl FnOnce(&mut dyn Write) -> Result<u8, TreeError>) -> ExitCode {
    let mut out = BufWriter::new(stdout().lock());
    let written = |out: &mut dyn Write| -> Fallible<u8> {
        let status = work(out)?;
        out.flush()?;
        Ok(status)
    };
    match written(&mut out) {
        Ok(status) => status.into(),
        Err(e) => {
            let _ = out.flush(); // what was found so far
            failed(e.as_ref())
        }
    }
}

fn failed(error: &dyn Error) -> ExitCode {
    eprintln!("gmetad: {error}");
    ExitCode::from(2)
}
