//! Space and inodes of mounted file systems.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use gmetad_core::agent::{AgentError, Cell, Context, Element, Measurement, Message, State, Status, Table as Shown};
use gmetad_core::message;
use nix::sys::statvfs::statvfs;
use serde::Deserialize;
use toml::Table;

use super::net::problem;
use super::plan::{
    BLUE, GREEN, GREY, INSTANCES, Limits, MINUTE, ORANGE, Plan, Probe, area, graph, keys, percentages, plain, round,
    share, stack,
};
use super::proc::{bytes, fits};
use crate::kind::Kind;
use crate::spec::Installed;

const MOUNTS: &str = "/proc/self/mounts";
/// Over a network: a dead server makes every question about them hang.
const NETWORK: &[&str] = &[
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ncpfs",
    "afs",
    "ceph",
    "glusterfs",
    "fuse.glusterfs",
    "fuse.sshfs",
    "fuse.s3fs",
    "lustre",
    "9p",
    "davfs",
    "fuse.davfs2",
    "fuse.rclone",
    "gpfs",
    "beegfs",
    "ocfs2",
    "gfs2",
];
/// On a disk, or pool, of this machine. Read-only media (squashfs, iso9660) are always full and not here.
const LOCAL: &[&str] = &[
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "jfs", "reiserfs", "f2fs", "nilfs2", "bcachefs", "vfat", "exfat",
    "msdos", "ntfs", "ntfs3", "fuseblk", "hfsplus", "ufs", "minix", "simfs", "virtiofs",
];

pub(super) const KIND: Kind =
    Kind { name: "disks", about: "Disk space", section: "Storage", build, default: || plain(&KIND) };

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    /// Only these mount points (`*` stands for anything); one without `*` that is not mounted is an Error.
    mounts: Vec<String>,
    /// Not these.
    skip: Vec<String>,
    /// File systems over a network, too.
    network: bool,
    /// Further types, as `tmpfs`.
    types: Vec<String>,
}

struct Disks {
    keys: Keys,
    /// Mount points that could be written to since the agent began.
    written: HashSet<OsString>,
}

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let keys: Keys = keys(own)?;
    Ok(Plan::new(name, &KIND, MINUTE, Disks { keys, written: HashSet::new() })
        .percent("used_percent", message!("used"))
        .gauge("used", message!("used"), "B")
        .gauge("free", message!("free"), "B")
        .gauge("reserved", message!("reserved for root"), "B")
        .shown("total", message!("total"), "B")
        .percent("inodes_percent", message!("inodes used"))
        .shown("inodes", message!("inodes"), "")
        .limited("used_percent", "~:85", "~:95", 1, limits)
        .rule("inodes_percent", "~:85", "~:95", 1)
        .graph(percentages("percent.png", message!("Space used"), vec![area("used_percent", BLUE)]))
        .graph(graph(
            "space.png",
            message!("Disk space"),
            "B",
            vec![area("used", BLUE), stack("reserved", GREY), stack("free", GREEN)],
        ))
        .graph(percentages("inodes.png", message!("Inodes used"), vec![area("inodes_percent", ORANGE)]))
        .build())
}

impl Probe for Disks {
    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        let mounts = parse(&bytes(MOUNTS)?);
        let chosen = chosen(&mounts, &self.keys);
        let mut rows = Vec::new();
        let mut measurement = Measurement::new();
        let mut status = Status::ok();
        for mount in &chosen {
            if context.stop.is_stopped() {
                break;
            }
            let name = mount.point.to_string_lossy();
            // One that cannot be asked (no right to go there, unmounted a moment ago) does not hide the others.
            let space = match space(mount) {
                Ok(space) => space,
                Err(error) => {
                    status = status.worse(Status::new(State::Warn, message!("{} cannot be measured: {}", name, error)));
                    continue;
                }
            };
            if !mount.read_only {
                self.written.insert(mount.point.clone());
            } else if self.written.contains(&mount.point) {
                status = status.worse(Status::new(State::Error, message!("{} has become read-only", name)));
            }
            let number = |field| Cell::Number(space.get_number(field).unwrap_or(f64::NAN));
            let text = |text: &OsStr| Cell::Text(text.to_string_lossy().as_ref().into());
            rows.push(vec![
                text(&mount.point),
                text(&mount.source),
                Cell::Text(mount.kind.as_str().into()),
                number("used_percent"),
                number("inodes_percent"),
            ]);
            measurement = measurement.instance(name, space);
        }
        for wanted in self.keys.mounts.iter().filter(|wanted| !wanted.contains('*')) {
            if !chosen.iter().any(|mount| mount.point == **wanted) {
                status = status.worse(Status::new(State::Error, message!("{} is not mounted", wanted)));
            }
        }
        let columns = vec![
            message!("Mount point"),
            message!("Device"),
            message!("Type"),
            message!("Space used (%)"),
            message!("Inodes used (%)"),
        ];
        let table = Shown { title: Message::default(), columns, rows };
        Ok(measurement.element(Element::Table(table)).judged(status))
    }

    fn judge(&self, last: &Measurement) -> Status {
        let percent = |mount: &Measurement| mount.get_number("used_percent").unwrap_or(0.0);
        let fullest = last.instances().max_by(|(_, one), (_, two)| percent(one).total_cmp(&percent(two)));
        match fullest {
            Some((name, fullest)) => {
                Status::new(State::Ok, message!("fullest: {}, {} %", name, round(percent(fullest))))
            }
            None => Status::new(State::Ok, message!("no file system to watch")),
        }
    }
}

#[derive(Debug, PartialEq)]
struct Mount {
    source: OsString,
    point: OsString,
    kind: String,
    read_only: bool,
}

/// /proc/mounts; what is no mount is left out.
fn parse(text: &[u8]) -> Vec<Mount> {
    let mount = |line: &[u8]| {
        let mut words = line.split(|byte| *byte == b' ');
        let mut word = || words.next().map(unescape);
        let (source, point, kind) = (word()?, word()?, word()?.into_string().ok()?);
        let read_only = words.next()?.split(|byte| *byte == b',').any(|option| option == b"ro");
        Some(Mount { source, point, kind, read_only })
    };
    text.split(|byte| *byte == b'\n').filter_map(mount).collect()
}

/// `\040` and the like.
fn unescape(word: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, after)) = rest.split_first() {
        let octal = after
            .first_chunk::<3>()
            .filter(|digits| *first == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match octal {
            Some(digits) => {
                plain.push(digits.iter().fold(0_u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')));
                rest = &after[3..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(plain)
}

/// The mounts to be measured: each device once, where it was mounted first; of several on one mount point the last, which hides the
/// others.
fn chosen<'a>(mounts: &'a [Mount], keys: &Keys) -> Vec<&'a Mount> {
    let mut points = HashSet::new();
    let mut visible: Vec<_> = mounts.iter().rev().filter(|mount| points.insert(&mount.point)).collect();
    visible.reverse();
    let mut devices = HashSet::new();
    let wanted = |mount: &&&Mount| {
        let point = mount.point.to_string_lossy();
        if fits(&keys.skip, &point) {
            return false;
        }
        if !keys.mounts.is_empty() {
            return fits(&keys.mounts, &point);
        }
        // /boot/firmware of a container host, files bound into a container: not a file system to be watched.
        let local =
            LOCAL.contains(&&*mount.kind) && !point.starts_with("/var/lib/docker/") && !point.starts_with("/snap/");
        // The root of a container is an overlay, or whatever the host has.
        let root = point == "/" && !NETWORK.contains(&&*mount.kind) && mount.kind != "rootfs";
        local || root || keys.types.contains(&mount.kind) || (keys.network && NETWORK.contains(&&*mount.kind))
    };
    let of_disks = visible.iter().filter(|mount| {
        // Bind mounts have the same source; virtual ones (`tmpfs`) are all called alike.
        !mount.source.as_bytes().starts_with(b"/") || devices.insert(&mount.source) || !keys.mounts.is_empty()
    });
    of_disks.filter(wanted).copied().take(INSTANCES).collect()
}

fn space(mount: &Mount) -> Result<Measurement, Message> {
    let found = statvfs(mount.point.as_os_str()).map_err(|error| problem(&error.into()))?;
    let block = found.fragment_size() as f64;
    let (blocks, free, available) =
        (found.blocks() as f64, found.blocks_free() as f64, found.blocks_available() as f64);
    let used = (blocks - free).max(0.0);
    let measurement = Measurement::new()
        // As df: of what others than root can use.
        .number("used_percent", share(used, used + available))
        .number("used", used * block)
        .number("free", available * block)
        .number("reserved", (free - available).max(0.0) * block)
        .number("total", blocks * block);
    let (inodes, free) = (found.files() as f64, found.files_free() as f64);
    // btrfs and vfat have none to run out of.
    if inodes == 0.0 {
        return Ok(measurement);
    }
    Ok(measurement.number("inodes_percent", share(inodes - free, inodes)).number("inodes", inodes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RECORDED: &str = "proc /proc proc rw,relatime 0 0\n/dev/sda1 / ext4 rw,errors=remount-ro 0 0\n\
        /dev/sda2 /home/my\\040files\\134x xfs ro,noatime 0 0\n/dev/sda1 /srv/bound ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n\
        nas:/export /mnt/nas nfs4 rw 0 0\n/dev/loop1 /snap/core squashfs ro 0 0\n/dev/sdb1 /data ext4 rw 0 0\ntank/home /tank zfs rw 0 0\n\
        /dev/sdc1 /data xfs rw 0 0\nbroken\n";

    fn points(keys: &str) -> Vec<String> {
        let mounts = parse(RECORDED.as_bytes());
        let keys = super::keys(keys.parse().unwrap()).unwrap();
        chosen(&mounts, &keys).iter().map(|mount| format!("{}:{}", mount.point.to_string_lossy(), mount.kind)).collect()
    }

    #[test]
    fn which_mounts_are_measured() {
        let mounts = parse(RECORDED.as_bytes());
        assert_eq!(mounts.len(), 10);
        assert_eq!(
            (mounts[2].point.to_str(), mounts[2].read_only, mounts[1].read_only),
            (Some("/home/my files\\x"), true, false)
        );
        let local = ["/:ext4", "/home/my files\\x:xfs", "/tank:zfs", "/data:xfs"];
        assert_eq!(points(""), local);
        assert_eq!(points("network = true")[2], "/mnt/nas:nfs4");
        assert_eq!(points("types = [\"tmpfs\"]").len(), 5);
        assert_eq!(points("skip = [\"/home/*\", \"/\"]"), local[2..]);
        let container = parse(b"overlay / overlay rw 0 0\noverlay /x overlay rw 0 0\n");
        assert_eq!(chosen(&container, &Keys::default()).len(), 1);
        assert_eq!(points("mounts = [\"/srv/*\", \"/run\", \"/gone\"]"), ["/srv/bound:ext4", "/run:tmpfs"]);
    }

    #[test]
    fn this_machine_as_df_says() {
        let measurement = super::super::measure_once(&KIND, "");
        let Some(root) = measurement.instances().find(|(name, _)| *name == "/").map(|(_, root)| root) else { return };
        let df = std::process::Command::new("df")
            .args(["--block-size=1", "--output=size,used,avail,pcent", "/"])
            .output()
            .unwrap();
        let line = String::from_utf8(df.stdout).unwrap().lines().nth(1).unwrap().replace('%', "");
        let df: Vec<f64> = line.split_ascii_whitespace().map(|word| word.parse().unwrap()).collect();
        let get = |field| root.get_number(field).unwrap();
        assert_eq!(get("total"), df[0]);
        // Others write meanwhile; df rounds up.
        assert!(
            (get("used") / df[1] - 1.0).abs() < 0.05 && (get("free") / df[2] - 1.0).abs() < 0.05,
            "{df:?} {root:?}"
        );
        assert!((get("used_percent") - df[3]).abs() <= 1.5, "{df:?} {root:?}");
        assert!(measurement.status().is_some_and(|status| status.state == State::Ok));
    }

    #[test]
    fn what_is_not_mounted_is_an_error() {
        let measurement = super::super::measure_once(&KIND, "mounts = [\"/\", \"/no such mount\"]");
        assert_eq!(measurement.status().unwrap().to_string(), "Error: /no such mount is not mounted");
        assert_eq!(measurement.instances().len(), 1);
    }

    #[test]
    fn becoming_read_only_is_seen() {
        let mount = |read_only| Mount { source: "x".into(), point: "/".into(), kind: "ext4".into(), read_only };
        let mut probe = Disks {
            keys: Keys { mounts: vec!["/".into()], ..Keys::default() },
            written: HashSet::from([mount(true).point]),
        };
        let measured = probe.measure(&super::super::context()).unwrap();
        let read_only = parse(&bytes(MOUNTS).unwrap())
            .iter()
            .rev()
            .find(|mount| mount.point == "/")
            .is_some_and(|root| root.read_only);
        assert_eq!(measured.status().unwrap().state == State::Error, read_only);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..200), lines in "([a/\\\\0-9é]{0,9} ?){0,6}\n") {
            let mut mounts = parse(&text);
            mounts.extend(parse(lines.as_bytes()));
            let _ = chosen(&mounts, &Keys::default());
        }
    }
}
