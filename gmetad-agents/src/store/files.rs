//! The files of an agent besides RRD: what is known of it, and what becomes of its directory.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use gmetad_core::agent::Message;
use gmetad_core::message;
use gmetad_core::model::UnixTime;
use gmetad_process::user::Account;
use gmetad_rrd::path;

use crate::said::Said;
use crate::view::AgentView;

/// What is known of an agent.
pub(super) const VIEW: &str = "agent.json";
/// The same if it is no such file.
const DAMAGED: &str = "agent.json.damaged";
/// The same while it is written.
const NEW: &str = "agent.json.new";
/// Where data of agents that are no more are kept.
const RETIRED: &str = ".retired";
/// Access to what is known of an agent.
const PRIVATE: u32 = 0o600;
/// Access to the directory of all data: programs that run as another user pass through it, but nobody lists it.
const DIRECTORY: u32 = 0o751;
/// The same in earlier versions.
const SHUT: u32 = 0o750;
/// Directories kept there, unless they are young.
pub(super) const MOST_RETIRED: usize = 100;
/// Directories kept there however young they are.
const MOST_YOUNG: usize = 2_000;
/// Seconds for which they are young: a mistake is noticed within them.
const YOUNG: i64 = 30 * 86_400;
/// Largest file about an agent that is read.
const LARGEST: u64 = 16 << 20;
/// Entries of a directory that are looked at.
const MOST_ENTRIES: usize = 100_000;

/// What an agent has files of: instance and field.
pub(super) type Key = (Option<String>, String);

/// What could be read of an agent.
#[derive(Debug)]
pub(super) enum Loaded {
    Nothing,
    View(Box<AgentView>),
    /// It was no such file; it has another name now.
    Damaged(Message),
}

/// Reads what an earlier process knew.
///
/// # Errors
/// The system's.
pub(super) fn load(root: &Path, agent: &str) -> io::Result<Loaded> {
    let file = path::agent_dir(root, agent).join(VIEW);
    let mut bytes = Vec::new();
    match File::open(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Nothing),
        other => other?.take(LARGEST + 1).read_to_end(&mut bytes)?,
    };
    let wrong = if bytes.len() as u64 > LARGEST {
        message!("it is larger than {} bytes", LARGEST)
    } else {
        match serde_json::from_slice::<AgentView>(&bytes) {
            Ok(view) => return Ok(Loaded::View(Box::new(view))),
            Err(error) => error.said(),
        }
    };
    let aside = file.with_file_name(DAMAGED);
    fs::rename(&file, &aside)?;
    let [file, aside] = [file, aside].map(|path| path.display().to_string());
    Ok(Loaded::Damaged(message!("{}: {}; set aside as {}", file, wrong, aside)))
}

/// Takes from others what earlier versions let them read: what is known of agents, also of those put aside.
///
/// # Errors
/// The first file whose mode cannot be changed; the others are.
pub(super) fn make_private(root: &Path) -> Result<(), (PathBuf, io::Error)> {
    let [all, retired] = [root.to_owned(), root.join(RETIRED)]
        .map(|dir| entries(&dir).into_iter().filter(|(_, is_dir)| *is_dir).map(move |(name, _)| dir.join(name)));
    let mut result = Ok(());
    for dir in all.chain(retired) {
        for name in [VIEW, DAMAGED, NEW] {
            let file = dir.join(name);
            // Links are somebody else's.
            let open = |meta: &Metadata| meta.is_file() && meta.permissions().mode() & 0o077 != 0;
            if file.symlink_metadata().is_ok_and(|meta| open(&meta))
                && let Err(error) = fs::set_permissions(&file, Permissions::from_mode(PRIVATE))
                && result.is_ok()
            {
                result = Err((file, error));
            }
        }
    }
    result
}

/// Makes the directory of all data, if it is missing: what programs say is not for everybody.
///
/// # Errors
/// The system's.
pub(super) fn make(root: &Path) -> io::Result<()> {
    if let Some(parent) = root.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(DIRECTORY).create(root) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && root.is_dir() => widen(root),
        // Whatever the umask takes.
        made => made.and_then(|()| fs::set_permissions(root, Permissions::from_mode(DIRECTORY))),
    }
}

/// Opens the way through a directory that an earlier version made. What is in it was shut by it, and stays shut.
fn widen(root: &Path) -> io::Result<()> {
    let meta = root.metadata()?;
    if meta.permissions().mode() & 0o7777 != SHUT || meta.uid() != Account::current().uid {
        return Ok(());
    }
    for (name, _) in entries(root).into_iter().filter(|(_, is_dir)| *is_dir) {
        let dir = root.join(name);
        let mode = dir.symlink_metadata()?.permissions().mode() & 0o7777;
        fs::set_permissions(&dir, Permissions::from_mode(mode & !0o007))?;
    }
    fs::set_permissions(root, Permissions::from_mode(DIRECTORY))
}

/// Makes the directory of an agent, if it is missing: for those who may read the directory of all data.
///
/// # Errors
/// The system's.
pub(crate) fn make_of_agent(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let mut is_open = false;
    if let Some(root) = dir.parent() {
        if !root.is_dir() {
            make(root)?;
        }
        is_open = root.metadata()?.permissions().mode() & 4 != 0;
    }
    fs::DirBuilder::new().recursive(true).mode(if is_open { 0o755 } else { SHUT }).create(dir)
}

/// Writes what is known of an agent: whole or not at all.
///
/// # Errors
/// The system's.
pub(super) fn save(root: &Path, view: &AgentView) -> io::Result<()> {
    let dir = path::agent_dir(root, &view.spec.name);
    let text = serde_json::to_vec(view)?;
    let aside = dir.join(NEW);
    let write = || OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE).open(&aside);
    let mut file = match write() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(root)?;
            make_of_agent(&dir)?;
            write()?
        }
        other => other?,
    };
    // One that an earlier process left; not every file system has modes.
    let _ = file.set_permissions(Permissions::from_mode(PRIVATE));
    file.write_all(&text)?;
    drop(file);
    fs::rename(&aside, dir.join(VIEW))
}

/// The RRD files of an agent. Names that had to be cut, and strange ones, are left out.
pub(super) fn known(root: &Path, agent: &str, most: usize) -> BTreeMap<Key, bool> {
    let mut found = BTreeMap::new();
    let dir = path::agent_dir(root, agent);
    for (name, is_dir) in entries(&dir) {
        if !is_dir {
            found.extend(path::name_of_file(&name).map(|field| ((None, field.into_owned()), false)));
        } else if let Some(instance) = path::name_of_dir(&name) {
            let files = entries(&dir.join(&name)).into_iter().filter(|(_, is_dir)| !is_dir);
            let fields = files.filter_map(|(file, _)| Some(path::name_of_file(&file)?.into_owned()));
            found.extend(fields.map(|field| ((Some(instance.clone().into_owned()), field), false)));
        }
        if found.len() > most {
            break;
        }
    }
    found
}

/// Bytes of the RRD files of an agent, also of those set aside.
pub(super) fn bytes(root: &Path, agent: &str) -> u64 {
    let dir = path::agent_dir(root, agent);
    let all = entries(&dir).into_iter().flat_map(|(name, is_dir)| {
        let place = dir.join(name);
        if is_dir { entries(&place).into_iter().map(|(name, _)| place.join(name)).collect() } else { vec![place] }
    });
    let is_rrd = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".rrd"));
    all.filter(is_rrd).filter_map(|path| Some(path.symlink_metadata().ok()?.len())).sum()
}

/// Removes the files of those instances that were not written for so long; what was removed.
///
/// # Errors
/// The system's.
pub(super) fn forget(root: &Path, agent: &str, age: Duration) -> io::Result<Vec<(String, PathBuf)>> {
    let dir = path::agent_dir(root, agent);
    let mut removed = Vec::new();
    for (name, _) in entries(&dir).into_iter().filter(|(_, is_dir)| *is_dir) {
        let instance = dir.join(&name);
        let Some(of) = path::name_of_dir(&name) else { continue };
        let written = entries(&instance).into_iter().map(|(file, _)| instance.join(file).metadata()?.modified());
        let is_old = |time: io::Result<SystemTime>| {
            // A time to come is no age.
            Ok::<bool, io::Error>(time?.elapsed().is_ok_and(|passed| passed > age))
        };
        if written.map(is_old).collect::<io::Result<Vec<_>>>()?.into_iter().all(|is_old| is_old) {
            fs::remove_dir_all(&instance)?;
            removed.push((of.into_owned(), instance));
        }
    }
    Ok(removed)
}

/// Names in a directory and whether they are directories; nothing if it cannot be read.
fn entries(dir: &Path) -> Vec<(String, bool)> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let of = |entry: fs::DirEntry| Some((entry.file_name().into_string().ok()?, entry.file_type().ok()?.is_dir()));
    entries.take(MOST_ENTRIES).filter_map(|entry| of(entry.ok()?)).collect()
}

/// Directories below the root that belong to agents, but to none of these.
pub(super) fn strangers(root: &Path, agents: &[String]) -> Vec<String> {
    let mine = |name: &String| !name.starts_with('.') && root.join(name).join(VIEW).is_file();
    let dirs = entries(root).into_iter().filter(|(name, is_dir)| *is_dir && mine(name));
    let names = dirs.filter_map(|(name, _)| Some(path::name_of_dir(&name)?.into_owned()));
    let mut strangers: Vec<String> = names.filter(|name| !agents.contains(name)).collect();
    strangers.sort();
    strangers
}

/// Puts the data of an agent aside; where to. `None`: it has none.
///
/// # Errors
/// The system's.
pub(super) fn retire(root: &Path, agent: &str, now: UnixTime) -> io::Result<Option<PathBuf>> {
    let dir = path::agent_dir(root, agent);
    let Some(name) = dir.file_name().and_then(|name| name.to_str()).filter(|_| dir.is_dir()) else { return Ok(None) };
    let retired = root.join(RETIRED);
    make_of_agent(&retired)?;
    let places = (now..).map(|time| retired.join(format!("{name}-{time}")));
    let Some(place) = places.take(MOST_ENTRIES).find(|place| !place.exists()) else { return Ok(None) };
    fs::rename(&dir, &place)?;
    Ok(Some(place))
}

/// Gives an agent without data the newest that were put aside; where from.
///
/// # Errors
/// The system's.
pub(super) fn restore(root: &Path, agent: &str) -> io::Result<Option<PathBuf>> {
    let dir = path::agent_dir(root, agent);
    let Some(name) = dir.file_name().and_then(|name| name.to_str()).filter(|_| !dir.exists()) else { return Ok(None) };
    let mut all = retired(root).into_iter().rev();
    let Some((_, place)) = all.find(|(_, path)| was(path).is_some_and(|(of, _)| of == name)) else {
        return Ok(None);
    };
    fs::rename(&place, &dir)?;
    Ok(Some(place))
}

/// Removes the oldest of what was put aside, beyond the bounds; what was removed.
///
/// # Errors
/// The system's.
pub(super) fn prune(root: &Path, now: UnixTime) -> io::Result<Vec<PathBuf>> {
    let all = retired(root);
    let beyond = |most: usize| all.len().saturating_sub(most);
    let old = all.iter().filter(|(time, _)| *time < now.saturating_sub(YOUNG)).count();
    let many = beyond(MOST_RETIRED).min(old).max(beyond(MOST_YOUNG));
    let mut removed = Vec::new();
    for (_, path) in all.into_iter().take(many) {
        fs::remove_dir_all(&path)?;
        removed.push(path);
    }
    Ok(removed)
}

/// Removes what is known of an agent, if there is nothing else of it; whether there was nothing else.
pub(super) fn remove_view(root: &Path, agent: &str) -> bool {
    let dir = path::agent_dir(root, agent);
    let is_all = entries(&dir).iter().all(|(name, is_dir)| !is_dir && name.starts_with(VIEW));
    is_all && fs::remove_dir_all(&dir).is_ok()
}

/// What was put aside, the oldest first.
fn retired(root: &Path) -> Vec<(UnixTime, PathBuf)> {
    let dir = root.join(RETIRED);
    let paths = entries(&dir).into_iter().filter(|(_, is_dir)| *is_dir).map(|(name, _)| dir.join(name));
    let mut all: Vec<(UnixTime, PathBuf)> = paths.filter_map(|path| Some((was(&path)?.1, path))).collect();
    all.sort();
    all
}

/// The directory that something put aside was, and when.
fn was(path: &Path) -> Option<(&str, UnixTime)> {
    let (name, time) = path.file_name()?.to_str()?.rsplit_once('-')?;
    Some((name, time.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_put_aside_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let file = |agent: &str| path::agent_file(root, agent, Some("/"), "used");
        for (agent, time) in [("a", 5), ("a", 5), ("a-1", 90), ("a", 7)] {
            fs::create_dir_all(file(agent).parent().unwrap()).unwrap();
            fs::write(file(agent), time.to_string()).unwrap();
            retire(root, agent, time).unwrap().unwrap();
        }
        assert_eq!(retire(root, "a", 8).unwrap(), None);
        assert!(restore(root, "a").unwrap().unwrap().ends_with(".retired/a-7"));
        assert_eq!(fs::read_to_string(file("a")).unwrap(), "7");
        assert_eq!(restore(root, "a").unwrap(), None, "it has data");
        assert_eq!(known(root, "a", 10).into_keys().collect::<Vec<_>>(), [(Some("/".to_owned()), "used".to_owned())]);
        assert_eq!(strangers(root, &[]), Vec::<String>::new(), "without the file of an agent it is somebody else's");
        fs::write(root.join("a").join(VIEW), "{}").unwrap();
        assert_eq!(strangers(root, &["b".to_owned()]), ["a"]);
    }

    #[test]
    fn what_is_gone_for_long_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(40 * 86_400);
        for (instance, fields) in [("veth1", [true, true]), ("veth2", [true, false]), ("/", [true, true])] {
            for (field, is_old) in ["rx", "tx"].iter().zip(fields) {
                let path = path::agent_file(dir.path(), "net", Some(instance), field);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let file = File::create(path).unwrap();
                if is_old {
                    file.set_modified(long_ago).unwrap();
                }
            }
        }
        File::create(path::agent_file(dir.path(), "net", None, "up")).unwrap().set_modified(long_ago).unwrap();
        let removed = forget(dir.path(), "net", Duration::from_secs(30 * 86_400)).unwrap();
        let mut removed: Vec<String> = removed.into_iter().map(|(instance, _)| instance).collect();
        removed.sort();
        assert_eq!(removed, ["/", "veth1"]);
        let left: Vec<Key> = known(dir.path(), "net", 100).into_keys().collect();
        let veth2 = |field: &str| (Some("veth2".to_owned()), field.to_owned());
        assert_eq!(left, [(None, "up".to_owned()), veth2("rx"), veth2("tx")]);
    }

    #[test]
    fn the_oldest_go_beyond_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        for time in 0..MOST_RETIRED + 2 {
            fs::create_dir_all(dir.path().join(format!(".retired/x-{time}"))).unwrap();
        }
        let now = YOUNG + 1;
        assert_eq!(prune(dir.path(), now).unwrap(), [dir.path().join(".retired/x-0")], "the others are young");
        assert_eq!(prune(dir.path(), now * 2).unwrap(), [dir.path().join(".retired/x-1")]);
        assert_eq!(retired(dir.path()).len(), MOST_RETIRED);
        for time in MOST_RETIRED + 2..MOST_YOUNG + 5 {
            fs::create_dir(dir.path().join(format!(".retired/x-{time}"))).unwrap();
        }
        assert_eq!(prune(dir.path(), 0).unwrap().len(), 3, "young, but too many");
    }

    #[test]
    fn what_others_could_read_they_cannot_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let files = ["a/agent.json", "a/agent.json.damaged", ".retired/b-7/agent.json", ".retired/b-7/agent.json.new"];
        for name in files.into_iter().chain(["a/used.rrd", "agent.json"]) {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), "").unwrap();
            fs::set_permissions(root.join(name), Permissions::from_mode(0o644)).unwrap();
        }
        fs::create_dir(root.join("c")).unwrap();
        std::os::unix::fs::symlink(root.join("a/used.rrd"), root.join("c/agent.json")).unwrap();
        make_private(root).unwrap();
        let mode = |name: &str| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(files.map(mode), [0o600; 4]);
        assert_eq!(["a/used.rrd", "agent.json"].map(mode), [0o644; 2], "nothing else");
    }

    #[test]
    fn programs_of_other_users_pass_and_nobody_lists() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("stats");
        let mode = |name: &str| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o777;
        make(&root).unwrap();
        make_of_agent(&root.join("a")).unwrap();
        assert_eq!([mode(""), mode("a") & 0o007], [0o751, 0]);
        fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
        make_of_agent(&root.join("b")).unwrap();
        make(&root).unwrap();
        assert_eq!([mode(""), mode("b") & 0o007], [0o755, 0o005], "somebody wants it to be read");
        fs::set_permissions(&root, Permissions::from_mode(0o750)).unwrap();
        make(&root).unwrap();
        assert_eq!([mode(""), mode("b") & 0o007], [0o751, 0], "what could not be reached is shut still");
        fs::set_permissions(&root, Permissions::from_mode(0o700)).unwrap();
        make(&root).unwrap();
        assert_eq!(mode(""), 0o700, "not made by us");
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(load(dir.path(), "a").unwrap(), Loaded::Nothing));
        fs::create_dir(dir.path().join("a")).unwrap();
        for text in [&b"{\"spec\":"[..], b"", b"\xff", b"[]"] {
            fs::write(dir.path().join("a/agent.json"), text).unwrap();
            let Loaded::Damaged(text) = load(dir.path(), "a").unwrap() else { panic!("no text") };
            let text = text.to_string();
            assert!(text.contains("a/agent.json: ") && text.ends_with("a/agent.json.damaged"), "{text}");
            assert!(!dir.path().join("a/agent.json").exists());
        }
    }
}
