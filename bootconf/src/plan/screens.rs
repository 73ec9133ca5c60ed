//! What a machine is told that boots nothing of ours right now: to go on to its own disk, to let somebody choose, or to wait until
//! somebody has named it. No plan belongs to any of them, and nothing of them is written.
//!
//! In the words of iPXE's version of 2019, as [`crate::plan::script`] has them. What stands in them is the site's: names and
//! titles, which can't be commands ([`crate::site::menus::Title`]), and the machine's own MAC and address as text of ours.

use std::fmt::Write as _;
use std::net::IpAddr;

use oneroot_ids::Mac;

use crate::decide::decided::Way;
use crate::plan::script;
use crate::site::menus::Menu;

/// Where a machine asks for what somebody has chosen in its menu; `choice` is its name.
#[must_use]
pub fn choice_url(base: &str, mac: Mac, choice: &str) -> String {
    format!("{base}/boot/{}/{choice}.ipxe", mac.dashed())
}

/// The script that goes on to the machine's own disk.
///
/// BIOS: its first disk is booted, for many a BIOS does not go on by itself after a network boot; where that fails, or this
/// iPXE can't, the BIOS is asked all the same. UEFI: the boot option ends with an error, for after one that has succeeded the
/// boot manager shows its menu and waits (UEFI specification 3.1.1), and only after one that has failed takes the next.
fn local(name: &str) -> String {
    format!(
        "#!ipxe\necho oneroot: {name} boots from its own disk\niseq ${{platform}} pcbios || exit 1\n\
         sanboot --no-describe --drive 0x80 ||\nexit\n"
    )
}

/// The script that shows a menu. Nobody's choice within its time is the default; an iPXE without menus takes that at once.
/// It asks again with the choice's name, which is checked there, and a choice that fails comes back to the menu.
fn menu(menu: &Menu, base: &str, mac: Mac) -> String {
    let Menu { title, timeout, choices, .. } = menu;
    let default = menu.default_choice();
    let mut script = format!("#!ipxe\n:menu\nmenu {title} || goto default\n");
    for choice in choices {
        // Writing to a String never fails.
        let _ = writeln!(script, "item {} {}", choice.name, choice.title);
    }
    // iPXE counts it in milliseconds.
    let timeout =
        timeout.map_or(String::new(), |seconds| format!("--timeout {} ", u64::from(seconds) * 1000));
    let ask = choice_url(base, mac, "${choice}");
    script.push_str(&format!(
        "choose --default {default} {timeout}choice || goto menu\ngoto chosen\n:default\nset choice {default}\n:chosen\n\
         chain --replace {ask} ||\necho oneroot: that did not work, the menu again in 5 s\nsleep 5\ngoto menu\n"
    ));
    script
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told<'h> {
    /// Its name; none for one that nobody has named.
    pub name: Option<&'h str>,
    /// Its NIC.
    pub mac: Mac,
    /// Where it asks from.
    pub address: IpAddr,
}

/// The script of a machine that boots no profile right now.
#[must_use]
pub fn of(way: &Way, told: &Told<'_>, base: &str) -> String {
    match way {
        Way::Local => local(&told.name.map_or_else(|| told.mac.to_string(), str::to_owned)),
        Way::Menu(_, shown) => menu(shown, base, told.mac),
        Way::Hold => held(told, &script::url(base, told.mac)),
    }
}

/// The script of a machine that waits: says who it is and what to do, and asks again, so that it boots as soon as it has been
/// named and nobody has to walk to it.
fn held(held: &Told<'_>, url: &str) -> String {
    let Told { name, mac, address } = held;
    let (who, what) = match name {
        Some(name) => (
            format!("{name} is held here until its site says what it boots"),
            format!("oneroot assign {name} --profile PROFILE"),
        ),
        None => (
            "nobody has named this machine yet".to_owned(),
            format!("oneroot adopt {mac} --name NAME --profile PROFILE"),
        ),
    };
    format!(
        "#!ipxe\n:again\necho\necho oneroot: {who}\necho\necho \x20 MAC      {mac}\necho \x20 address  {address}\n\
         echo \x20 firmware ${{platform}}, ${{buildarch}}\necho\necho On the server: {what}\n\
         echo It boots within 30 s then; nothing has to be done here.\nsleep 30\nchain --replace {url} ||\ngoto again\n"
    )
}

/// Where a machine asks again for what it was told: with its choice, where it has made one.
#[must_use]
pub fn own_url(base: &str, mac: Mac, choice: Option<&str>) -> String {
    choice.map_or_else(|| script::url(base, mac), |choice| choice_url(base, mac, choice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::gives::{Boots, Gives};
    use crate::site::menus::Choice;

    const BASE: &str = "http://192.168.77.1";

    fn mac() -> Mac {
        Mac::new([0x52, 0x54, 0, 0, 0, 0x0a]).unwrap()
    }

    fn desk(timeout: Option<u32>) -> Menu {
        let choice = |name: &str, title: &str, boots| Choice {
            name: name.to_owned(),
            title: title.parse().unwrap(),
            gives: Gives { boots: Some(boots), ..Gives::default() },
        };
        Menu {
            title: "Room 1".parse().unwrap(),
            timeout,
            default: Some("disk".to_owned()),
            choices: vec![
                choice("debian", "Debian, as in class", Boots::Profile("debian".to_owned())),
                choice("disk", "What is installed here", Boots::Local),
            ],
        }
    }

    /// What iPXE does with a script: the lines that it runs, where `fails` says which of them do not work.
    fn runs<'s>(script: &'s str, fails: &dyn Fn(&str) -> bool, most: usize) -> Vec<&'s str> {
        let lines: Vec<&str> = script.lines().skip(1).collect();
        let place = |label: &str| lines.iter().position(|line| *line == format!(":{label}")).unwrap();
        let (mut at, mut ran) = (0, Vec::new());
        while ran.len() < most && at < lines.len() {
            let line = lines[at];
            at += 1;
            if line.starts_with(':') {
                continue;
            }
            let (command, otherwise) = line.split_once(" ||").unwrap_or((line, ""));
            let mut run = vec![command];
            if fails(command) {
                assert!(line.contains(" ||"), "{line} would end the script");
                run.push(otherwise.trim());
            }
            for command in run.into_iter().filter(|command| !command.is_empty()) {
                ran.push(command);
                if let Some(label) = command.strip_prefix("goto ") {
                    at = place(label);
                }
                // Nothing comes back from what has worked.
                let leaves = ["chain", "sanboot", "exit"].iter().any(|word| command.starts_with(word));
                if leaves && !fails(command) {
                    return ran;
                }
            }
        }
        ran
    }

    #[test]
    fn a_bios_boots_the_first_disk_or_goes_on_by_itself_and_uefi_is_told_that_this_boot_failed() {
        let script = local("alpha");
        let bios = runs(&script, &|_| false, 100);
        assert_eq!(bios.last(), Some(&"sanboot --no-describe --drive 0x80"));
        let without_disk = runs(&script, &|line| line.starts_with("sanboot"), 100);
        assert_eq!(without_disk.last(), Some(&"exit"));
        let uefi = runs(&script, &|line| line.starts_with("iseq"), 100);
        assert_eq!(uefi.last(), Some(&"exit 1"));
        assert!(!uefi.iter().any(|line| line.starts_with("sanboot")));
    }

    #[test]
    fn a_menu_reads_as_ipxe_of_2019_takes_it() {
        let wanted = "#!ipxe\n:menu\nmenu Room 1 || goto default\nitem debian Debian, as in class\nitem disk What is installed here\n\
            choose --default disk --timeout 20000 choice || goto menu\ngoto chosen\n:default\nset choice disk\n:chosen\n\
            chain --replace http://192.168.77.1/boot/52-54-00-00-00-0a/${choice}.ipxe ||\n\
            echo oneroot: that did not work, the menu again in 5 s\nsleep 5\ngoto menu\n";
        assert_eq!(menu(&desk(Some(20)), BASE, mac()), wanted);
        assert!(menu(&desk(None), BASE, mac()).contains("\nchoose --default disk choice || goto menu\n"));
    }

    #[test]
    fn a_menu_without_an_answer_comes_again_and_never_in_a_hurry_and_without_menus_the_default_is_taken() {
        let script = menu(&desk(Some(20)), BASE, mac());
        let chosen = runs(&script, &|_| false, 100);
        assert!(
            chosen.last().unwrap().starts_with("chain") && !chosen.iter().any(|line| line.starts_with("set"))
        );
        let old = runs(&script, &|line| line.starts_with("menu"), 100);
        assert!(old.contains(&"set choice disk") && !old.iter().any(|line| line.starts_with("choose")));
        let unheard = runs(&script, &|line| line.starts_with("chain"), 200);
        let asks = unheard.iter().filter(|line| line.starts_with("chain")).count();
        let waits = unheard.iter().filter(|line| **line == "sleep 5").count();
        assert!(asks > 10 && asks.abs_diff(waits) <= 1, "{unheard:?}");
    }

    #[test]
    fn who_is_held_says_who_it_is_and_how_it_is_adopted_and_asks_again_for_ever() {
        let address = IpAddr::from([192, 168, 77, 100]);
        let url = script::url(BASE, mac());
        let stranger = held(&Told { name: None, mac: mac(), address }, &url);
        for words in [
            "52:54:00:00:00:0a",
            "192.168.77.100",
            "oneroot adopt 52:54:00:00:00:0a --name NAME --profile PROFILE",
        ] {
            assert!(stranger.contains(words), "{words}: {stranger}");
        }
        let named = held(&Told { name: Some("alpha"), mac: mac(), address }, &url);
        assert!(named.contains("alpha is held") && !named.contains("adopt"), "{named}");
        for script in [stranger, named] {
            let ran = runs(&script, &|line| line.starts_with("chain"), 500);
            let asks = ran.iter().filter(|line| line.starts_with("chain")).count();
            let waits = ran.iter().filter(|line| **line == "sleep 30").count();
            assert!(asks > 10 && asks.abs_diff(waits) <= 1);
        }
    }
}
