//! A directory of plugins: load, reload, check.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gmetad_core::conf::Section;
use gmetad_core::stats::Stats;
use gmetad_core::{Gmetad, Plugin};
use gmetad_plugins::exec::Executables;

use crate::rig::{PATIENCE, directory, is_alive, logged, script, section, transaction, until};

const GOOD: &str = "
open('{dir}/{name}.pid', 'w').write(str(os.getpid()))
begin()
while True:
    asked = ask()
    answer(type='ok', id=asked.get('id'))
    if asked['type'] == 'stop': sys.exit(0)
";

fn put(dir: &Path, file: &str, body: &str) {
    let name = file.split('.').next().unwrap();
    script(dir, file, &body.replace("{dir}", dir.join("pids").to_str().unwrap()).replace("{name}", name));
}

fn pid(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join("pids").join(format!("{name}.pid"))).unwrap_or_default()
}

fn plugins() -> tempfile::TempDir {
    let dir = directory();
    std::fs::create_dir(dir.path().join("pids")).unwrap();
    dir
}

fn executables(dir: &Path, sections: &[Section]) -> Executables {
    Executables::new(dir.to_owned(), sections, vec![("lab".to_owned(), 15)], "grid", "0.1.0")
}

#[test]
fn an_absent_directory_is_silent() {
    let dir = directory();
    let mut none = executables(&dir.path().join("no"), &[]);
    assert!(none.load().is_empty() && none.describe().is_empty());
    assert!(none.reload(&[]).texts.is_empty());
}

#[test]
fn what_is_refused_is_named() {
    let dir = plugins();
    put(dir.path(), "set-good.py", GOOD);
    put(dir.path(), "set-open.py", GOOD);
    set_permissions(dir.path().join("set-open.py"), Permissions::from_mode(0o777)).unwrap();
    put(dir.path(), "set-section.py", GOOD);
    let mut set = executables(dir.path(), &[section("set-section", "plugin_output much")]);
    let told = set.describe();
    assert_eq!(told.len(), 3);
    assert!(told[0].starts_with("plugin set-good: /") && told[0].ends_with("/set-good.py"), "{told:?}");
    assert!(told[1].contains("is writable for group or others") && told[1].contains("chmod go-w"), "{told:?}");
    assert!(told[2].contains("gmetad.conf: line 2: plugin_output: \"much\" is not a whole number"), "{told:?}");
    let names: Vec<_> = set.load().iter().map(|plugin| plugin.name().to_owned()).collect();
    assert_eq!(names, ["set-good"]);
    assert_eq!((logged("set-open", "writable"), logged("set-section", "plugin_output")), (1, 1));
}

#[test]
fn a_reload_touches_only_what_changed() {
    let dir = plugins();
    let files = ["r1-stays", "r2-goes", "r3-edited", "r4-section"];
    files.iter().for_each(|file| put(dir.path(), file, GOOD));
    let mut sections = vec![section("r4-section", "a 1"), section("r1-stays", "b 1")];
    let mut set = executables(dir.path(), &sections);
    let gmetad = Gmetad::builder().start().unwrap();
    for plugin in set.load() {
        gmetad.add_plugin(plugin, &sections).unwrap();
    }
    files.iter().for_each(|name| until("it runs", || logged(name, "runs as process") == 1));
    let before = files.map(|name| pid(dir.path(), name));
    assert!(set.reload(&sections).texts.is_empty(), "nothing has changed");

    std::fs::remove_file(dir.path().join("r2-goes")).unwrap();
    put(dir.path(), "r3-edited", &format!("{GOOD}\n# edited"));
    put(dir.path(), "r0-new", GOOD);
    sections[0] = section("r4-section", "a 2");
    let reload = set.reload(&sections);
    assert_eq!(reload.remove, ["r3-edited", "r4-section", "r2-goes"], "{:?}", reload.texts);
    let added: Vec<_> = reload.add.iter().map(|plugin| plugin.name().to_owned()).collect();
    assert_eq!(added, ["r0-new", "r3-edited", "r4-section"]);
    assert_eq!(reload.texts.len(), 4);
    reload.remove.iter().for_each(|name| gmetad.remove_plugin(name));
    for plugin in reload.add {
        gmetad.add_plugin(plugin, &sections).unwrap();
    }
    until("the old ones end", || before[1..].iter().all(|pid| !is_alive(pid)));
    ["r3-edited", "r4-section"].iter().for_each(|name| until("a new one", || logged(name, "runs as process") == 2));
    until("the new one runs", || logged("r0-new", "runs as process") == 1);
    assert!(is_alive(&before[0]) && pid(dir.path(), "r1-stays") == before[0]);
    gmetad.stop(PATIENCE).unwrap();
    let began = Instant::now();
    drop(set);
    assert!(began.elapsed() < Duration::from_secs(4));
    for name in ["r0-new", "r1-stays", "r3-edited", "r4-section"] {
        assert!(!is_alive(&pid(dir.path(), name)), "{name}");
    }
}

#[test]
fn a_refused_configuration_ends_it_until_the_reload() {
    let dir = plugins();
    let body = "ask()\nanswer(type='hello', protocol=1)\nask()\nanswer(type='error', text='threshold: 5 is too much')\ntime.sleep(9)";
    put(dir.path(), "picky", body);
    let mut set = executables(dir.path(), &[]);
    let stats = Arc::new(Stats::default());
    let mut run = |mut plugin: Box<dyn Plugin>| {
        plugin.attach(&stats);
        plugin.configure(&[]).unwrap();
        plugin.start().unwrap();
        plugin
    };
    let mut old: Vec<_> = set.load().into_iter().map(&mut run).collect();
    until("it says so", || logged("picky", "it refused \"config\": threshold: 5 is too much") == 1);
    let mut reload = set.reload(&[]);
    until("it has ended", || {
        if reload.add.is_empty() {
            reload = set.reload(&[]);
        }
        !reload.add.is_empty()
    });
    old[0].notify(&mut transaction("lab", 1, 1)).unwrap();
    assert_eq!((stats.plugins.of("picky").dropped.get(), stats.dropped.get()), (1, 0), "no queue was full");
    assert_eq!(reload.remove, ["picky"]);
    let _new: Vec<_> = reload.add.into_iter().map(&mut run).collect();
    until("it says so again", || logged("picky", "it refused \"config\"") == 2);
}

#[test]
fn those_who_do_not_stop_end_together() {
    let dir = plugins();
    let stubborn = "
open('{dir}/{name}.pid', 'w').write(str(os.getpid()))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
begin()
time.sleep(1000)";
    let names: Vec<String> = (0..5).map(|n| format!("stays-{n}")).collect();
    names.iter().for_each(|name| put(dir.path(), name, stubborn));
    let mut set = executables(dir.path(), &[]);
    let gmetad = Gmetad::builder().start().unwrap();
    for plugin in set.load() {
        gmetad.add_plugin(plugin, &[]).unwrap();
    }
    names.iter().for_each(|name| until("it runs", || logged(name, "runs as process") == 1));
    let began = Instant::now();
    gmetad.stop(PATIENCE).unwrap();
    drop(set);
    let time = began.elapsed();
    assert!(time < Duration::from_millis(4_500), "{time:?}");
    for name in &names {
        assert!(!is_alive(&pid(dir.path(), name)), "{name}");
        assert_eq!(logged(name, "did not end within 1 s of \"stop\""), 1);
    }
}
