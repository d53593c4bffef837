//! Finding a program and preparing its run: directory, environment, user, limits.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use gmetad_core::agent::{Message, Place};
use gmetad_core::message;
use gmetad_process::child::{Limits, Spawn};
use gmetad_process::user::Account;

use super::settings::{Format, Settings};
use crate::said::Said;
use crate::store::files::make_of_agent;

/// Where packages put checks.
const CHECKS: &[&str] =
    &["/usr/lib/nagios/plugins", "/usr/lib64/nagios/plugins", "/usr/lib/monitoring-plugins", "/usr/libexec/nagios"];
/// Where munin plugins are: those that are in use, all.
const PLUGINS: &[&str] = &["/etc/munin/plugins", "/usr/share/munin/plugins", "/usr/lib/munin/plugins"];
/// If we have none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The previous answer, in the directory of the agent.
pub(super) const LAST: &str = "last";
/// Where links are: beside the directory of the agent, which may be another user's.
const LINKS: &str = ".link";

/// What a run of it is made of.
#[derive(Debug)]
pub(super) struct Program {
    spawn: Spawn,
    /// A directory of its own.
    pub(super) state: Option<PathBuf>,
}

impl Program {
    /// Looks for the file and prepares the directory.
    pub(super) fn find(name: &str, settings: &Settings, place: Option<&Place>) -> Result<Self, Message> {
        let (word, args) = settings.command.split_first().ok_or_else(|| message!("there is no command"))?;
        let mut file = file(word, settings.format, place.map(|place| place.root.as_path()))?;
        let user = settings.user.as_deref().map(|user| Account::by_name(user).map_err(|error| error.said()));
        let user = user.transpose()?;
        let state = place.map(|place| place.state.clone()).filter(|state| !state.as_os_str().is_empty());
        if let Some(state) = &state {
            prepare(state, user.as_ref()).map_err(|error| {
                message!("its directory {} cannot be made: {}", state.display().to_string(), error.said())
            })?;
        }
        if let Some(link) = &settings.link {
            let Some(state) = &state else {
                return Err(message!("a link needs a directory, and there is none: take out `link`"));
            };
            let mut links = state.clone().into_os_string();
            links.push(LINKS);
            file = linked(&file, Path::new(&links), link)
                .map_err(|error| message!("the link {} cannot be made: {}", link, error.said()))?;
        }
        let limits = Limits { memory: settings.memory, cpu: settings.cpu, files: settings.files };
        let mut spawn = Spawn::new(file).args(args).limits(limits).bare_env().dies_with_thread();
        spawn = spawn.dir(state.as_deref().unwrap_or(Path::new("/")));
        if let Some(user) = user {
            spawn = spawn.user(user);
        }
        for (variable, value) in environment(name, settings.format, place, state.as_deref()) {
            spawn = spawn.env(variable, value);
        }
        for (variable, value) in &settings.environment {
            spawn = spawn.env(variable, value);
        }
        Ok(Self { spawn, state })
    }

    /// With further arguments.
    pub(super) fn spawn(&self, verb: Option<&str>) -> Spawn {
        self.spawn.clone().args(verb)
    }
}

/// The file for the first word of a command.
fn file(word: &str, format: Format, root: Option<&Path>) -> Result<PathBuf, Message> {
    if word.starts_with('/') {
        return Ok(word.into());
    }
    let usual: &[&str] = match format {
        Format::Nagios => CHECKS,
        Format::Munin => PLUGINS,
        _ => &[],
    };
    let own = root.map(|root| root.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
    let directories =
        own.clone().into_iter().chain(usual.iter().map(PathBuf::from)).chain(std::env::split_paths(&path));
    let is_program =
        |file: &PathBuf| fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    // An empty part of the search path would be the working directory.
    let found =
        directories.filter(|directory| directory.is_absolute()).map(|directory| directory.join(word)).find(is_program);
    found.ok_or_else(|| {
        let own = own.map(|own| own.display().to_string());
        let places: Vec<String> = own.into_iter().chain(usual.iter().map(|place| (*place).to_owned())).collect();
        if places.is_empty() {
            return message!("there is no program {} in the search path; write its whole path, or install it", word);
        }
        message!(
            "there is no program {}: neither in {} nor in the search path; write its whole path, or install it",
            word,
            places.join(", ")
        )
    })
}

/// A directory that only its owner, the user of the program, may look into.
fn prepare(state: &Path, user: Option<&Account>) -> io::Result<()> {
    let of_agent = state.parent().unwrap_or(state);
    make_of_agent(of_agent)?;
    if user.is_some_and(|user| user.uid != Account::current().uid) {
        // The way to it, no more.
        let meta = fs::symlink_metadata(of_agent)?;
        let mode = meta.permissions().mode() & 0o7777;
        if is_ours(&meta) && mode & 1 == 0 {
            fs::set_permissions(of_agent, fs::Permissions::from_mode(mode | 1))?;
        }
    }
    match DirBuilder::new().mode(0o700).create(state) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    let found = fs::symlink_metadata(state)?;
    if !found.is_dir() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message!("it is no directory; move it away")));
    }
    // One in a place of ours may be that of who it ran as before.
    let is_good = is_ours(&found)
        || user.is_some_and(|user| user.uid == found.uid())
        || state.parent().is_some_and(|parent| fs::symlink_metadata(parent).is_ok_and(|parent| is_ours_alone(&parent)));
    if !is_good {
        return Err(not_ours());
    }
    match user {
        Some(user) if Account::current().uid == 0 => chown(state, Some(user.uid), Some(user.gid)),
        _ => Ok(()),
    }
}

fn is_ours(meta: &fs::Metadata) -> bool {
    meta.uid() == Account::current().uid
}

/// A directory in which nobody else can put anything.
fn is_ours_alone(meta: &fs::Metadata) -> bool {
    meta.is_dir() && is_ours(meta) && meta.permissions().mode() & 0o022 == 0
}

fn not_ours() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        message!("it belongs to another user, or others may write into it; move it away"),
    )
}

/// A link of that name to a program. The directory of links is ours, not the program's.
fn linked(file: &Path, links: &Path, name: &str) -> io::Result<PathBuf> {
    match DirBuilder::new().mode(0o755).create(links) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    if !is_ours_alone(&fs::symlink_metadata(links)?) {
        return Err(not_ours());
    }
    let link = links.join(name);
    if fs::read_link(&link).is_ok_and(|to| to == file) {
        return Ok(link);
    }
    match fs::remove_file(&link) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    symlink(file, &link)?;
    Ok(link)
}

fn environment(
    name: &str,
    format: Format,
    place: Option<&Place>,
    state: Option<&Path>,
) -> Vec<(&'static str, std::ffi::OsString)> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
    let mut all = vec![
        ("PATH", path),
        // Numbers and words as adapters know them.
        ("LC_ALL", "C".into()),
        ("HOME", state.unwrap_or(Path::new("/")).into()),
        ("ZSTATS_PROTOCOL", "1".into()),
        ("ZSTATS_AGENT", name.into()),
    ];
    all.extend(std::env::var_os("TZ").map(|zone| ("TZ", zone)));
    let period = place.map(|place| place.period.as_secs().to_string());
    all.extend(period.clone().map(|period| ("ZSTATS_PERIOD", period.into())));
    if let Some(state) = state {
        all.push(("ZSTATS_STATE_DIR", state.into()));
        all.push(("ZSTATS_LAST", state.join(LAST).into()));
    }
    match format {
        Format::Nagios => all.extend(state.map(|state| ("MP_STATE_PATH", state.into()))),
        Format::Munin => {
            all.push(("MUNIN_CAP_DIRTYCONFIG", "1".into()));
            all.push(("MUNIN_CAP_MULTIGRAPH", "1".into()));
            all.push(("MUNIN_DEBUG", "0".into()));
            all.push(("MUNIN_MASTER_IP", "-".into()));
            let libdir = ["/usr/share/munin", "/usr/lib/munin"].into_iter().find(|dir| Path::new(dir).is_dir());
            all.push(("MUNIN_LIBDIR", libdir.unwrap_or("/usr/share/munin").into()));
            if let Some(state) = state {
                all.push(("MUNIN_PLUGSTATE", state.into()));
                all.push(("MUNIN_STATEFILE", state.join("munin.state").into()));
            }
        }
        Format::Collectd => {
            all.push(("COLLECTD_HOSTNAME", "localhost".into()));
            all.extend(period.map(|period| ("COLLECTD_INTERVAL", period.into())));
        }
        Format::Zstats | Format::Influx | Format::Json => {}
    }
    all
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn bare_names_are_looked_for() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("bin")).unwrap();
        let own = root.path().join("bin/sh");
        assert!(file("sh", Format::Zstats, Some(root.path())).unwrap().ends_with("bin/sh"));
        fs::write(&own, "#!/bin/sh\n").unwrap();
        assert_ne!(file("sh", Format::Zstats, Some(root.path())).unwrap(), own, "not executable");
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(file("sh", Format::Zstats, Some(root.path())).unwrap(), own);
        let error = file("no-such-program", Format::Zstats, Some(root.path())).unwrap_err().to_string();
        assert!(error.contains("no-such-program") && error.contains("install it"), "{error}");
        for (format, place) in
            [(Format::Nagios, "/usr/lib/nagios/plugins"), (Format::Munin, "/usr/share/munin/plugins")]
        {
            for root in [None, Some(root.path())] {
                let error = file("no-such-program", format, root).unwrap_err().to_string();
                assert!(error.contains(place), "{error}");
            }
        }
    }

    #[test]
    fn somebody_elses_directory_is_refused() {
        if Account::current().uid != 0 {
            return; // only root can make one
        }
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let state = root.path().join("s");
        let nobody = Account::by_name("nobody").unwrap();
        fs::create_dir(&state).unwrap();
        chown(&state, Some(nobody.uid), Some(nobody.gid)).unwrap();
        assert!(prepare(&state, None).unwrap_err().to_string().contains("another user"));
        assert!(linked(Path::new("/bin/sh"), &state, "x").unwrap_err().to_string().contains("another user"));
        prepare(&state, Some(&nobody)).unwrap();
    }

    #[test]
    fn the_directory_is_private_and_links_point() {
        let root = tempfile::tempdir().unwrap();
        let place = Place {
            state: root.path().join("a/.state"),
            root: root.path().into(),
            period: Duration::from_secs(30),
            ..Place::default()
        };
        let settings =
            Settings { command: vec!["/bin/sh".into()], link: Some("if_eth0".into()), ..Settings::default() };
        for _ in 0..2 {
            let program = Program::find("x", &settings, Some(&place)).unwrap();
            assert_eq!(program.state.as_deref(), Some(place.state.as_path()));
        }
        assert_eq!(fs::metadata(&place.state).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_link(root.path().join("a/.state.link/if_eth0")).unwrap(), Path::new("/bin/sh"));
        // A directory in which somebody else could change what is run.
        fs::set_permissions(root.path().join("a/.state.link"), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Program::find("x", &settings, Some(&place)).unwrap_err().to_string().contains("others may write"));
        fs::remove_dir_all(root.path().join("a/.state.link")).unwrap();
        fs::remove_dir_all(&place.state).unwrap();
        symlink("/tmp", &place.state).unwrap();
        assert!(Program::find("x", &settings, Some(&place)).unwrap_err().to_string().contains("it is no directory"));
    }
}
