//! The site of docs/how-to/classroom.md, with the directory server, the file server and the name server that it takes for granted: a user
//! logs in at one seat and then at another, and finds what she left; of her there is nothing in the tree.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use oneroot_testkit::{Ganesha, Lab, Server, SiteFiles, Slapd};
use oneroot_vm_tests::{Guest, Hardware, artifacts};

use crate::example::{self, changed};
use crate::own_init::power_off;
use crate::{STEP, assert_no_io_error};

const NAS: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 3);
const LDAP: &str = "192.168.77.4";
/// A host that is none of the school's servers, and listens.
const STRANGER: &str = "192.168.77.50";
/// The password by which seats ask the directory server.
const OF_SEATS: &str = "what-seats-say";
const OF_ADA: &str = "lovelace-1815";
/// Ada's number, and her group's: in the directory as in the list.
const ADA: (u32, u32) = (10_001, 10_000);
/// Where seats have the certificate of the authority that has signed the directory server's.
const AUTHORITY: &str = "etc/ssl/certs/school.pem";
/// The profile's desktop, which the tree here goes without, and a machine without a screen too.
const DESKTOP: [&str; 4] = ["xfce4", "lightdm", "xserver-xorg", "firefox-esr"];
/// Of a setting of her desktop: Xfce keeps it in her home.
const SETTING: &str = "xfconf-query -c xsettings -p /Net/ThemeName";

/// The example, and where its seats find the school's own authority.
fn site(debian: &Path) -> SiteFiles {
    let recipe = include_str!("../../debian/classroom.sh");
    let mut site = example::site("classroom", "10.7.0.", debian, recipe, &DESKTOP);
    site.set_text(&changed(site.text(), "etc/ssl/certs/ca-certificates.crt", AUTHORITY));
    site
}

/// A directory server with a certificate of the school's own authority, whom the seats are to believe: who is not a seat reads nothing.
fn directory(lab: &Lab, site: &SiteFiles) -> Slapd {
    let home = site.path().join("ldap");
    fs::create_dir(&home).unwrap();
    let openssl = |words: &str| {
        let words = format!("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 10 {words}");
        let done = Command::new("openssl").current_dir(&home).args(words.split(' ')).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    openssl("-subj /CN=School -keyout ca.key -out ca.pem");
    openssl(
        "-subj /CN=ldap.school.example -addext subjectAltName=DNS:ldap.school.example -CA ca.pem -CAkey ca.key \
         -keyout key.pem -out certificate.pem",
    );
    let authority = fs::read_to_string(home.join("ca.pem")).unwrap();
    site.file("lab", AUTHORITY, &authority).unwrap();
    let person = |name: &str, number: u32, password: &str| {
        format!(
            "\ndn: uid={name},dc=school,dc=example\nobjectClass: account\nobjectClass: posixAccount\nuid: {name}\n\
             cn: {name}\nuidNumber: {number}\ngidNumber: {}\nhomeDirectory: /home/{name}\nloginShell: /bin/bash\n\
             userPassword: {password}\n",
            ADA.1
        )
    };
    let entries = format!(
        "dn: dc=school,dc=example\nobjectClass: dcObject\nobjectClass: organization\ndc: school\no: School\n\n\
         dn: cn=seats,dc=school,dc=example\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\n\
         cn: seats\nuserPassword: {OF_SEATS}\n\n\
         dn: cn=pupils,dc=school,dc=example\nobjectClass: posixGroup\ncn: pupils\ngidNumber: {}\n{}{}",
        ADA.1,
        person("ada", ADA.0, OF_ADA),
        person("bob", 10_002, "boole-1815"),
    );
    let ldif = home.join("school.ldif");
    fs::write(&ldif, entries).unwrap();
    let more = format!(
        "TLSCertificateFile {home}/certificate.pem\nTLSCertificateKeyFile {home}/key.pem\n\
         access to attrs=userPassword by anonymous auth by * none\n\
         access to * by dn=\"cn=seats,dc=school,dc=example\" read by * none\n",
        home = home.display()
    );
    let address = format!("{LDAP}:636");
    let serve = || Slapd::serve(&home, &ldif, "dc=school,dc=example", ("ldaps", &address), &more);
    lab.on_host(&format!("{LDAP}/24"), serve).unwrap().unwrap()
}

/// A file server with a home for Ada and one for her exams, which root of a seat can't read.
fn homes(lab: &Lab, at: &Path) -> Ganesha {
    for kind in ["home", "exam"] {
        let home = at.join(kind).join("ada");
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("kind"), format!("{kind}\n")).unwrap();
        chown(home.join("kind"), Some(ADA.0), Some(ADA.1)).unwrap();
        chown(&home, Some(ADA.0), Some(ADA.1)).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let (home, exam) = (at.join("home"), at.join("exam"));
    let exports = [("/export/home", home.as_path()), ("/export/exam", exam.as_path())];
    lab.on_host(&format!("{NAS}/24"), || Ganesha::of_users(&exports, at, NAS)).unwrap().unwrap()
}

/// A seat that is up, with a root that has looked at it and logged out again.
fn is_up(server: &Server, seat: &mut Guest, name: &str, locale: &str) {
    seat.log_in().unwrap();
    server.wait_for_step(name, "up", STEP).unwrap();
    seat.wait_until_settled();
    let failed = seat.ok("systemctl --failed --plain --no-legend --no-pager").unwrap();
    let why = "journalctl --boot --no-pager --priority warning --lines 60";
    assert!(failed.is_empty(), "{failed}\n{}", seat.ok(why).unwrap());
    assert_eq!(seat.ok("readlink /etc/localtime").unwrap(), "/usr/share/zoneinfo/Europe/Berlin");
    assert_eq!(seat.ok("cat /etc/default/locale").unwrap(), format!("LANG={locale}"));
    assert!(seat.ok("getent passwd ada").unwrap().ends_with(":/home/ada:/bin/bash"));
    // Its SSH key is its own, and those of the tree are nobody's.
    let keys = seat.ok("ls /etc/ssh/ssh_host_*_key; stat -Lc %a /etc/ssh/ssh_host_ed25519_key").unwrap();
    assert_eq!(keys, "/etc/ssh/ssh_host_ed25519_key\n600");
}

fn as_ada(seat: &mut Guest, locale: &str) {
    seat.log_in_as("ada", OF_ADA, "$ ").unwrap();
    assert_eq!(
        seat.ok("id -un; id -gn; pwd; echo $LANG").unwrap(),
        format!("ada\npupils\n/home/ada\n{locale}")
    );
}

/// Ada's files and her desktop's settings, changed.
fn leaves(seat: &mut Guest) {
    as_ada(seat, "de_DE.UTF-8");
    assert_eq!(seat.ok("stat -fc %T .; cat kind").unwrap(), "nfs\nhome");
    // What keeps settings writes them a little later.
    let kept = "for n in $(seq 30); do grep -rq Greybird .config/xfce4 && exit; sleep 1; done; exit 1";
    let changes = format!("{SETTING} -n -t string -s Greybird && {{ {kept}; }}");
    seat.ok(&format!("dbus-run-session -- sh -c '{changes}'")).unwrap();
    seat.ok("echo hers >essay; sync").unwrap();
    seat.log_out().unwrap();
}

fn finds(seat: &mut Guest) {
    as_ada(seat, "en_GB.UTF-8");
    assert_eq!(seat.ok("cat essay").unwrap(), "hers");
    assert_eq!(seat.ok(&format!("dbus-run-session -- {SETTING} 2>/dev/null")).unwrap(), "Greybird");
    seat.log_out().unwrap();
}

/// Once nobody uses it, the seat lets go of her home; and nothing of her, nor the seats' password, is in the server's trees.
fn nothing_is_left(server: &Server, seat: &mut Guest) {
    seat.log_in_at_prompt().unwrap();
    assert_eq!(seat.ok(LET_GO).unwrap(), "", "her home is still mounted");
    assert!(!server.run(&["ls", "a-01", "/home"]).unwrap().contains("ada"));
    assert!(!server.run(&["cat", "a-01", "/etc/passwd"]).unwrap().contains("ada"));
    // Of a file of a layer, so one that looks finds it: files lie in the store as they are.
    for (word, is_there) in
        [("/.oneroot/secrets/ldap_password", true), (OF_SEATS, false), (OF_ADA, false), ("Greybird", false)]
    {
        let mut found = Command::new("grep");
        let found = found.args(["-rlF", word, "store"]).current_dir(server.site.path()).output().unwrap();
        let said = [found.stdout, found.stderr].concat();
        let code = if is_there { 0 } else { 1 };
        assert_eq!(found.status.code(), Some(code), "{word}: {}", String::from_utf8_lossy(&said));
    }
}

/// autofs(8) looks at once for what nobody uses, at this signal; systemd keeps a user's own manager for ten seconds, and who looked at the
/// home itself would have it mounted.
const LET_GO: &str = "for n in $(seq 60); do kill -USR1 $(cat /run/autofs.pid); sleep 1; \
                      grep -q ' /home/ada ' /proc/mounts || break; done; grep ' /home/ada ' /proc/mounts || true";

#[test]
#[ignore = "make test-vm-all"]
fn a_user_finds_her_home_and_her_desktop_at_every_seat_and_nothing_of_her_is_in_the_tree() {
    let Some(debian) = artifacts::here(artifacts::classroom) else { return };
    let lab = Lab::new().unwrap();
    let hosts = [("ldap", LDAP.to_owned()), ("nas", NAS.to_string())];
    let _names = example::names(&lab, "school.example", &hosts);
    let site = site(&debian);
    let ldap = directory(&lab, &site);
    let work = tempfile::tempdir().unwrap();
    let _nas = homes(&lab, work.path());
    let server = Server::start(site).unwrap();
    for seat in ["a-01", "a-02", "b-01", "b-02"] {
        server.tell(&["secret", "set", seat, "ldap_password"], &format!("{OF_SEATS}\n")).unwrap();
    }

    let mut a = Hardware::new("a-01", "07:01:01").memory(768).power_on(&lab).unwrap();
    is_up(&server, &mut a, "a-01", "de_DE.UTF-8");
    a.log_out().unwrap();
    leaves(&mut a);

    let mut b = Hardware::new("b-01", "07:02:01").memory(768).power_on(&lab).unwrap();
    is_up(&server, &mut b, "b-01", "en_GB.UTF-8");
    b.log_out().unwrap();
    finds(&mut b);
    nothing_is_left(&server, &mut a);

    exam(&lab, &server, &mut a);
    accounts_in_files(&lab, &server);

    // Without its directory server a seat comes up all the same, for whoever it is that mends it.
    drop(ldap);
    b.log_in_at_prompt().unwrap();
    b.type_line("reboot").unwrap();
    b.log_in().unwrap();
    server.wait_for_step("b-01", "up", STEP).unwrap();
    b.fails("getent passwd ada").unwrap();
    ends(&mut b);
    no_errors(&server);
}

/// For an hour, row a has other homes and no network but the school's.
fn exam(lab: &Lab, server: &Server, a: &mut Guest) {
    let listens = || TcpListener::bind((STRANGER, 80)).unwrap();
    let _stranger = lab.on_host(&format!("{STRANGER}/24"), listens).unwrap();
    let reaches = format!("timeout 10 bash -c '</dev/tcp/{STRANGER}/80'");
    a.ok(&reaches).unwrap();
    server.run(&["assign", "a-{01..02}", "--workload", "exam", "--until", "3h"]).unwrap();
    a.type_line("reboot").unwrap();
    is_up(server, a, "a-01", "de_DE.UTF-8");
    a.fails(&reaches).unwrap();
    a.log_out().unwrap();
    as_ada(a, "de_DE.UTF-8");
    assert_eq!(a.ok("cat kind; ls essay 2>/dev/null || echo none").unwrap(), "exam\nnone");
    a.log_out().unwrap();
    a.log_in_at_prompt().unwrap();
    ends(a);
}

/// A machine whose accounts lie in a layer, and whose homes are mounted in one.
fn accounts_in_files(lab: &Lab, server: &Server) {
    let hashed = Command::new("openssl").args(["passwd", "-6", OF_ADA]).output().unwrap();
    let hashed = String::from_utf8(hashed.stdout).unwrap();
    let shadow = format!("ada:{}:19000:0:99999:7:::\n", hashed.trim());
    server.tell(&["secret", "set", "trial", "shadow"], &shadow).unwrap();
    let mut trial = Hardware::new("trial", "07:09:01").memory(768).power_on(lab).unwrap();
    is_up(server, &mut trial, "trial", "de_DE.UTF-8");
    trial.log_out().unwrap();
    as_ada(&mut trial, "de_DE.UTF-8");
    assert_eq!(trial.ok("cat kind essay").unwrap(), "home\nhers");
    trial.log_out().unwrap();
    trial.log_in_at_prompt().unwrap();
    ends(&mut trial);
}

fn ends(seat: &mut Guest) {
    assert_no_io_error(seat);
    power_off(seat);
}

/// What the server has said of all this is no error.
fn no_errors(server: &Server) {
    let log = server.log();
    let bad: Vec<&str> = log.lines().filter(|line| line.contains("ERROR") || line.contains("WARN")).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}
