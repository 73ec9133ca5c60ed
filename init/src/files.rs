//! What the machine is given, put in place in the new root: its id, and the files that its server has written for it.
//!
//! Which file goes where and when stands in `/.oneroot/places`, a table that the shell script of other initramfs reads too
//! (docs/decisions/0010). What fails is told, and the machine boots on: it has booted without all this for long.

pub mod places;

use std::time::Duration;

use oneroot_initrd::report::Phase;

use crate::examine::EXAMINE;
use crate::kernel::{Errno, Kernel, Kind, Mount};
use crate::machine::{self, Machine, Over, Tree};
use crate::overlay::NEW;
use crate::trouble::Trouble;
use places::{Places, When};

/// Where it lies that the machine is given.
pub const GIVEN: &str = "/.oneroot";
/// The sign by which programs know that systemd runs.
const SIGN: &str = "/run/systemd/system";
/// Files of one machine; it has about ten.
const MOST: usize = 1024;
/// Directories in each other.
const DEEPEST: usize = 16;
/// What ifupdown's program may take.
const IFUPDOWN: Duration = Duration::from_secs(10);
/// Which secrets the machine has.
const SECRETS: &str = "/.oneroot/secrets.list";
/// What fetching secrets may take: the script asks for 300 s, and ends what it has begun by then within two minutes. And what letting go of
/// them may take, where it has not ended, and putting links to them in their places.
const ALL_SECRETS: Duration = Duration::from_secs(480);
const LETS_GO: Duration = Duration::from_secs(30);
/// Where the site's hooks are, and what all of them may take; the script gives each a minute.
const HOOKS: &str = "/etc/oneroot/early.d";
const ALL_HOOKS: Duration = Duration::from_secs(900);
/// What the programs that examine the machine may take, and the one that runs them and tells of it: it ends before that by itself.
const EXAMINES: Duration = Duration::from_secs(360);
/// Mounts that go along into the new root, and that it gets: where, what, and whether programs of others' may not run there.
const CARRIED: [&str; 3] = ["/dev", "/sys", "/proc"];

/// Makes the new root the root, and puts everything in place there.
///
/// # Errors
/// When the new root can't become the root.
pub fn place(machine: &mut Machine<'_>, mac: &str) -> Result<(), Over> {
    machine.teller.begin(Phase::Files);
    enter(machine)?;
    let kernel = machine.kernel;
    let mut wrong = Vec::new();
    if let Err(errno) = own_id(kernel, &machine.settings.machine.to_string()) {
        wrong.push(Trouble::File { path: "/etc/machine-id".to_owned(), errno });
    }
    let _ = kernel.set_name(&machine.settings.name);
    if is_systemd(kernel, &init(machine))
        && let Err(errno) = kernel.make_directory(SIGN)
    {
        wrong.push(Trouble::File { path: SIGN.to_owned(), errno });
    }
    let placed = put(kernel, &mut wrong);
    tell_ifupdown(kernel, mac, &mut wrong);
    let lacking = if !fetch_secrets(kernel, &mut wrong) {
        // Before what is copied: the server gives them for some minutes alone. Before the hooks, too: one may need a secret.
        Some(Trouble::Secret)
    } else if !keep(kernel, &mut wrong) {
        Some(Trouble::Lasting)
    } else if !link_secrets(kernel, &mut wrong) {
        Some(Trouble::Secret)
    } else if !run_hooks(kernel, &mut wrong) {
        Some(Trouble::Hook)
    } else {
        None
    };
    if lacking.is_none() {
        // What they find out is for the next boot: nothing that comes of them is this one's.
        let _ = by_script(kernel, (&["hooks", "examine"], EXAMINE), Some(EXAMINES), &|| false, &mut wrong);
    }
    for trouble in &wrong {
        machine.teller.note(trouble);
    }
    if let Some(trouble) = lacking {
        return Err(machine.is_stuck(&trouble));
    }
    machine.teller.done(&format!("{placed} files"));
    Ok(())
}

/// Fetches the machine's secrets (docs/decisions/0025). False where one is missing without which it is not to come up.
fn fetch_secrets(kernel: &dyn Kernel, wrong: &mut Vec<Trouble>) -> bool {
    let before = wrong.len();
    let is_needed = || needs_secrets(kernel);
    let is_let = by_script(kernel, (&["fetch-secrets"], SECRETS), Some(ALL_SECRETS), &is_needed, wrong);
    if wrong.len() > before {
        // It was ended wherever it was: the server's export is not to stay mounted, nor open for this boot.
        let _ = by_script(
            kernel,
            (&["fetch-secrets", "over"], SECRETS),
            Some(LETS_GO),
            &|| false,
            &mut Vec::new(),
        );
    }
    is_let
}

/// Has them found where programs look for them, in directories that may have memory of their own by now.
fn link_secrets(kernel: &dyn Kernel, wrong: &mut Vec<Trouble>) -> bool {
    let is_needed = || needs_secrets(kernel);
    by_script(kernel, (&["fetch-secrets", "link"], SECRETS), Some(LETS_GO), &is_needed, wrong)
}

fn needs_secrets(kernel: &dyn Kernel) -> bool {
    let text = kernel.read(SECRETS).unwrap_or_default();
    String::from_utf8_lossy(&text).contains(" required ")
}

/// Runs what the site has its machines do before their real init (docs/decisions/0023). False where one has failed without which
/// this machine is not to come up.
fn run_hooks(kernel: &dyn Kernel, wrong: &mut Vec<Trouble>) -> bool {
    let is_needed = || kernel.list(HOOKS).unwrap_or_default().iter().any(|name| name.ends_with(".required"));
    by_script(kernel, (&["hooks"], HOOKS), Some(ALL_HOOKS), &is_needed, wrong)
}

/// Has what lasts, and what has memory of its own, made (docs/decisions/0024). False where something is missing without which this
/// machine is not to come up.
fn keep(kernel: &dyn Kernel, wrong: &mut Vec<Trouble>) -> bool {
    let list = format!("{GIVEN}/lasts");
    let is_needed = || {
        let text = kernel.read(&list).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().any(|line| line.split(' ').nth(2) == Some("required"))
    };
    // What is copied comes over the network and may be much: as much as the site says.
    by_script(kernel, (&["keep"], &list), None, &is_needed, wrong)
}

/// Runs a script that other initramfs run too, with these words behind its name, where there is what it is for. False where that says so,
/// or where it did not run, nobody knows what became of it, and some of it is needed.
fn by_script(
    kernel: &dyn Kernel,
    (words, of): (&[&str], &str),
    within: Option<Duration>,
    is_needed: &dyn Fn() -> bool,
    wrong: &mut Vec<Trouble>,
) -> bool {
    let Some((script, arguments)) = words.split_first() else { return true };
    let program = format!("{GIVEN}/{script}");
    if !kernel.is_there(of) || !kernel.is_there(&program) {
        return true;
    }
    let words: Vec<&str> = [program.as_str()].iter().chain(arguments).copied().collect();
    match kernel.run("/bin/sh", &words, &[machine::HOME, machine::PATH], within) {
        Ok(is_let) => is_let,
        Err(errno) => {
            wrong.push(Trouble::File { path: of.to_owned(), errno });
            !is_needed()
        }
    }
}

/// The real init's path.
#[must_use]
pub fn init(machine: &Machine<'_>) -> String {
    machine.arguments.init.clone().unwrap_or_else(|| machine.settings.init.clone())
}

/// Whether that is systemd. Unit files in a tree say nothing: many a tree has them and boots another init, which would take the
/// sign of systemd for systemd.
#[must_use]
pub fn is_systemd(kernel: &dyn Kernel, init: &str) -> bool {
    ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"].iter().any(|path| kernel.is_same(init, path))
}

fn enter(machine: &mut Machine<'_>) -> Result<(), Over> {
    let kernel = machine.kernel;
    for own in CARRIED {
        let to = format!("{NEW}{own}");
        // A tree without a place for it does without.
        if kernel.kind(&to) == Some(Kind::Directory)
            && let Err(errno) = kernel.carry(own, &to)
        {
            machine.teller.note(&Trouble::Own { target: own.to_owned(), errno });
        }
    }
    let run = format!("{NEW}/run");
    if kernel.kind(&run) == Some(Kind::Directory) {
        let tmpfs = Mount {
            source: "tmpfs",
            target: &run,
            kind: "tmpfs",
            read_only: false,
            no_suid: true,
            options: "mode=0755",
        };
        if let Err(errno) = kernel.mount(&tmpfs) {
            machine.teller.note(&Trouble::Own { target: "/run".to_owned(), errno });
        }
    }
    if let Err(errno) = kernel.enter(NEW) {
        return Err(machine.is_stuck(&Trouble::Enter(errno)));
    }
    machine.tree = Some(Tree::Root);
    Ok(())
}

/// A copy of the tree has one machine-id or none; every machine must have its own, whatever init reads it.
fn own_id(kernel: &dyn Kernel, id: &str) -> Result<(), Errno> {
    const PATH: &str = "/etc/machine-id";
    if kernel.kind("/etc") != Some(Kind::Directory) {
        return Ok(());
    }
    match kernel.remove(PATH) {
        Ok(()) | Err(Errno::NOENT) => kernel.write(PATH, format!("{id}\n").as_bytes(), 0o444),
        Err(errno) => Err(errno),
    }
}

/// Puts in place what the table says; how many files.
fn put(kernel: &dyn Kernel, wrong: &mut Vec<Trouble>) -> usize {
    let text = kernel.read(&format!("{GIVEN}/places")).unwrap_or_default();
    let places = Places::of(&String::from_utf8_lossy(&text));
    let mut placed = 0;
    for (path, when) in
        places.expand(|directory| kernel.list(&format!("{GIVEN}/{directory}")).unwrap_or_default())
    {
        let from = format!("{GIVEN}/{path}");
        if kernel.kind(&from).is_none() || !holds(kernel, when, &format!("/{path}")) {
            continue;
        }
        if when == When::Added {
            add(kernel, &from, &format!("/{path}"), &mut placed, wrong);
        } else {
            copy(kernel, &from, &format!("/{path}"), 0, &mut placed, wrong);
        }
    }
    if !kernel.is_there(SIGN) {
        make_places(kernel, wrong);
    }
    placed
}

/// Adds a file's lines to the tree's.
fn add(kernel: &dyn Kernel, from: &str, to: &str, placed: &mut usize, wrong: &mut Vec<Trouble>) {
    let trees = match kernel.read(to) {
        Err(Errno::NOENT) => Ok(Vec::new()),
        other => other,
    };
    // Its last line may have no end.
    let done = trees.and_then(|trees| {
        kernel.read(from).and_then(|lines| give(kernel, to, &[trees, b"\n".to_vec(), lines].concat()))
    });
    match done {
        Ok(()) => *placed += 1,
        Err(errno) => wrong.push(Trouble::File { path: to.to_owned(), errno }),
    }
}

/// Makes the directories on which the tree's init is to mount something: systemd makes them itself, and nobody else does.
fn make_places(kernel: &dyn Kernel, wrong: &mut Vec<Trouble>) {
    let list = kernel.read(&format!("{GIVEN}/mounts")).unwrap_or_default();
    let list = String::from_utf8_lossy(&list);
    for place in list.lines().take(MOST).filter_map(|line| line.split(' ').nth(1)) {
        if let Err(errno) = kernel.make_directory(place) {
            wrong.push(Trouble::File { path: place.to_owned(), errno });
        }
    }
}

/// Whether this is the case of a file of the tree's.
fn holds(kernel: &dyn Kernel, when: When, path: &str) -> bool {
    let text = || String::from_utf8_lossy(&kernel.read(path).unwrap_or_default()).into_owned();
    // What has nothing above it is no place: a tree without /etc gets none.
    let top = path.match_indices('/').nth(1).and_then(|(at, _)| path.get(..at)).unwrap_or("/");
    kernel.kind(top) == Some(Kind::Directory)
        && match when {
            When::Always => true,
            When::Systemd => kernel.is_there(SIGN),
            When::Absent => kernel.kind(path).is_none(),
            When::Nameless => matches!(text().lines().next().unwrap_or_default().trim(), "" | "localhost"),
            When::Added => !kernel.is_there(SIGN),
            When::NoNameserver => !text().lines().any(|line| line.trim_start().starts_with("nameserver")),
        }
}

/// Copies a file, or a directory with all that is in it. Where the place is a link, the file is written where it leads: resolved,
/// NetworkManager and resolvconf write over it there.
fn copy(
    kernel: &dyn Kernel,
    from: &str,
    to: &str,
    depth: usize,
    placed: &mut usize,
    wrong: &mut Vec<Trouble>,
) {
    let done = match kernel.kind(from) {
        _ if *placed >= MOST || depth > DEEPEST => Err(Errno::FBIG),
        Some(Kind::Directory) => kernel.make_directory(to).and_then(|()| kernel.list(from)).map(|names| {
            for name in names {
                copy(kernel, &format!("{from}/{name}"), &format!("{to}/{name}"), depth + 1, placed, wrong);
            }
        }),
        Some(Kind::Link) => kernel.read_link(from).and_then(|leads| {
            *placed += 1;
            kernel.link(&leads, to)
        }),
        Some(Kind::File) => kernel.read(from).and_then(|content| {
            *placed += 1;
            give(kernel, to, &content)
        }),
        Some(Kind::Other) | None => Err(Errno::NOENT),
    };
    if let Err(errno) = done {
        wrong.push(Trouble::File { path: to.to_owned(), errno });
    }
}

fn give(kernel: &dyn Kernel, to: &str, content: &[u8]) -> Result<(), Errno> {
    let target = match kernel.kind(to) {
        Some(Kind::Link) => {
            let leads = kernel.read_link(to)?;
            if leads.starts_with('/') { leads } else { format!("{}/{leads}", above(to)) }
        }
        _ => to.to_owned(),
    };
    kernel.make_directory(above(&target))?;
    kernel.write(to, content, 0o644)
}

/// The directory that a path lies in.
fn above(path: &str) -> &str {
    match path.rsplit_once('/') {
        None | Some(("", _)) => "/",
        Some((above, _)) => above,
    }
}

/// ifupdown knows NICs by name, and only here is the name of this one known.
fn tell_ifupdown(kernel: &dyn Kernel, mac: &str, wrong: &mut Vec<Trouble>) {
    let program = format!("{GIVEN}/ifupdown");
    if kernel.kind("/etc/network") != Some(Kind::Directory) || !kernel.is_there(&program) {
        return;
    }
    let links = kernel.links().unwrap_or_default();
    for link in links.iter().filter(|link| link.mac.is_some_and(|found| found.to_string() == mac)) {
        let environment = [("INTERFACE", link.name.as_str()), machine::HOME, machine::PATH];
        let errno = match kernel.run("/bin/sh", &[&program], &environment, Some(IFUPDOWN)) {
            Ok(true) => continue,
            Ok(false) => Errno::IO,
            Err(errno) => errno,
        };
        wrong.push(Trouble::File { path: format!("ifupdown's word for {}", link.name), errno });
    }
}
