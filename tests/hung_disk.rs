//! A disk that hangs: what needs nothing written goes on.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use oneroot_testkit::{Lab, Server, SiteFiles};

const RELAY: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
const PATIENCE: Duration = Duration::from_secs(60);

/// Nothing of the state is on the disk while a file is there; another file appears when somebody waits for that.
const DISK: &str = "#include <fcntl.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\
    #include <sys/syscall.h>\n#include <unistd.h>\n\
    static void hang(int file) {\n\
        char link[64], path[4096] = \"\";\n\
        snprintf(link, sizeof link, \"/proc/self/fd/%d\", file);\n\
        if (readlink(link, path, sizeof path - 1) < 0 || !strstr(path, \"/state/\")) return;\n\
        while (access(getenv(\"HANGS\"), F_OK) == 0) {\n\
            close(open(getenv(\"WAITS\"), O_CREAT | O_WRONLY, 0600));\n\
            usleep(5000);\n\
        }\n\
    }\n\
    int fdatasync(int file) { hang(file); return syscall(SYS_fdatasync, file); }\n\
    int fsync(int file) { hang(file); return syscall(SYS_fsync, file); }\n";

#[test]
fn a_root_that_runs_is_mounted_again_while_the_disk_hangs_in_the_same_machines_next_boot() {
    let lab = Lab::new().unwrap();
    let site = SiteFiles::with_alpha(b"kernel").unwrap();
    // The server writes into its state and its store and nowhere else.
    let [source, library, hangs, waits] =
        ["disk.c", "disk.so", "hangs", "state/waits"].map(|name| site.path().join(name));
    fs::write(&source, DISK).unwrap();
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(made.unwrap().success());
    let environment = [("LD_PRELOAD", &library), ("HANGS", &hangs), ("WAITS", &waits)];
    let environment = environment.map(|(name, path)| (name, path.to_str().unwrap()));
    let server = Server::start_with(site, &environment).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let boot = alpha.boot().unwrap();
        alpha.mount(&boot.export).unwrap();
        // So that its next plan is another one, and has to be written.
        fs::write(server.site.path().join("root/changed"), "a later tree").unwrap();
        server.stage().unwrap();
        let (mounted, next) = std::thread::scope(|scope| {
            fs::write(&hangs, "").unwrap();
            let next = scope.spawn(|| alpha.boot());
            let begun = Instant::now();
            while !waits.exists() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(5));
            }
            let mounted = alpha.mount(&boot.export).and_then(|mut root| root.read_all());
            let waited = waits.exists() && hangs.exists() && !next.is_finished();
            fs::remove_file(&hangs).unwrap();
            assert!(waited, "the next boot was not waiting for the disk");
            (mounted, next.join().unwrap())
        });
        assert!(mounted.unwrap().contains_key("/boot/vmlinuz-1"));
        assert_ne!(next.unwrap().id, boot.id);
    })
    .unwrap();
}
